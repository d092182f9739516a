#!/usr/bin/env python3
"""boto3 against a waxseal at $S3, with nothing switched off: default checksums in trailers included."""
import base64
import concurrent.futures
import hashlib
import io
import json
import os
import random
import ssl
import urllib.error
import urllib.request
import zlib

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

PLAINTEXT = b"this plaintext must never be found in the store"
BUCKET = f"boto3-{random.randrange(10**9)}"
s3 = boto3.client("s3", endpoint_url=os.environ["S3"], config=Config(signature_version="s3v4"))


def body(size):
    data = bytearray(random.randbytes(size))
    for at in (0, size // 2, size - len(PLAINTEXT)):
        if size >= 3 * len(PLAINTEXT):
            data[at : at + len(PLAINTEXT)] = PLAINTEXT
    return bytes(data)


def md5(data):
    return f'"{hashlib.md5(data).hexdigest()}"'


def get(key, **kw):
    return s3.get_object(Bucket=BUCKET, Key=key, **kw)["Body"].read()


def refused(code, call, **kw):
    try:
        call(**kw)
    except ClientError as e:
        got = e.response["Error"]["Code"]
        assert got in (code, {"NoSuchKey": "404", "PreconditionFailed": "412"}.get(code)), (code, got)
    else:
        raise AssertionError(f"{call.__name__} was not refused with {code}")


def simple():
    for size in (0, 1, 65479, 65480, 65481, 131000, 1 << 20, (5 << 20) + 1):
        data = body(size)
        put = s3.put_object(Bucket=BUCKET, Key="simple", Body=data, Metadata={"n": str(size)})
        assert put["ETag"] == md5(data) and put["ServerSideEncryption"] == "AES256", put
        head = s3.head_object(Bucket=BUCKET, Key="simple")
        assert head["ContentLength"] == size and head["ETag"] == md5(data) and head["Metadata"] == {"n": str(size)}, head
        assert not [h for h in head["ResponseMetadata"]["HTTPHeaders"] if "waxseal" in h], head
        assert get("simple") == data, size
        for lo, hi in ((0, 0), (1, 70000), (65470, 65490), (size // 2, size + 5)):
            if lo < size:
                assert get("simple", Range=f"bytes={lo}-{hi}") == data[lo : hi + 1], (size, lo, hi)


def crc(data, polynomial, bits):
    """A reflected CRC with all bits set before and after, as CRC32C and CRC64NVME are."""
    ones, table = (1 << bits) - 1, []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (polynomial if n & 1 else 0)
        table.append(n)
    at = ones
    for b in data:
        at = at >> 8 ^ table[(at ^ b) & 255]
    return (at ^ ones).to_bytes(bits // 8, "big")


ALGORITHMS = {
    "CRC32": lambda d: zlib.crc32(d).to_bytes(4, "big"),
    "CRC32C": lambda d: crc(d, 0x82F63B78, 32),
    "CRC64NVME": lambda d: crc(d, 0x9A6C9329AC4BC9B5, 64),
    "SHA1": lambda d: hashlib.sha1(d).digest(),
    "SHA256": lambda d: hashlib.sha256(d).digest(),
}


def checksums():
    data = body(300000)
    for algorithm, digest in ALGORITHMS.items():
        key, field, want = f"sum-{algorithm}", f"Checksum{algorithm}", base64.b64encode(digest(data)).decode()
        assert s3.put_object(Bucket=BUCKET, Key=key, Body=data, **{field: want})[field] == want
        head = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        assert head[field] == want and head["ChecksumType"] == "FULL_OBJECT", head
        assert field not in s3.head_object(Bucket=BUCKET, Key=key)
        attributes = s3.get_object_attributes(Bucket=BUCKET, Key=key, ObjectAttributes=["Checksum", "ETag", "ObjectSize"])
        assert attributes["Checksum"][field] == want and attributes["ObjectSize"] == len(data), attributes
        assert get(key) == data
        wrong = base64.b64encode(bytes(len(digest(b"")))).decode()
        refused("BadDigest", s3.put_object, Bucket=BUCKET, Key="bad", Body=data, **{field: wrong})
        refused("NoSuchKey", s3.get_object, Bucket=BUCKET, Key="bad")
        if algorithm in ("CRC32", "SHA1", "SHA256"):  # those that boto3 computes without its native library
            assert s3.put_object(Bucket=BUCKET, Key=key, Body=data, ChecksumAlgorithm=algorithm)[field] == want
            out = io.BytesIO()
            s3.upload_fileobj(io.BytesIO(data), BUCKET, key, ExtraArgs={"ChecksumAlgorithm": algorithm})
            s3.download_fileobj(BUCKET, key, out)
            assert out.getvalue() == data
    default = s3.put_object(Bucket=BUCKET, Key="sum", Body=data)
    head = s3.head_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")
    assert default["ChecksumCRC32"] == head["ChecksumCRC32"], (default, head)
    refused("BadDigest", s3.put_object, Bucket=BUCKET, Key="bad", Body=data, ContentMD5=base64.b64encode(bytes(16)).decode())
    refused("NoSuchKey", s3.get_object, Bucket=BUCKET, Key="bad")


def checksums_of_uploads():
    parts = [body(5 << 20), body((5 << 20) + 7), body(12345)]
    for algorithm, kind in (("CRC32", "COMPOSITE"), ("CRC32", "FULL_OBJECT"), ("SHA1", "COMPOSITE"), ("SHA256", "COMPOSITE")):
        field, digest = f"Checksum{algorithm}", ALGORITHMS[algorithm]
        up = {"Bucket": BUCKET, "Key": f"sums-{algorithm}"}
        up["UploadId"] = s3.create_multipart_upload(**up, ChecksumAlgorithm=algorithm, ChecksumType=kind)["UploadId"]
        done = []
        for n, part in enumerate(parts, 1):
            r = s3.upload_part(**up, PartNumber=n, Body=part, ChecksumAlgorithm=algorithm)
            assert r[field] == base64.b64encode(digest(part)).decode()
            done.append({"PartNumber": n, "ETag": r["ETag"], field: r[field]})
        refused("BadDigest", s3.upload_part, **up, PartNumber=4, Body=b"x", **{field: base64.b64encode(bytes(len(digest(b"")))).decode()})
        if kind == "COMPOSITE":
            want = base64.b64encode(digest(b"".join(digest(p) for p in parts))).decode() + "-3"
        else:
            want = base64.b64encode(digest(b"".join(parts))).decode()
        r = s3.complete_multipart_upload(**up, MultipartUpload={"Parts": done})
        assert r[field] == want and r["ChecksumType"] == kind, (r, want)
        head = s3.head_object(Bucket=BUCKET, Key=up["Key"], ChecksumMode="ENABLED")
        assert head[field] == want and head["ChecksumType"] == kind, head
        assert get(up["Key"]) == b"".join(parts)
        seen = s3.get_object_attributes(Bucket=BUCKET, Key=up["Key"], ObjectAttributes=["ObjectParts", "Checksum", "ObjectSize"])
        assert seen["ObjectSize"] == sum(map(len, parts)) and seen["ObjectParts"]["TotalPartsCount"] == 3, seen


def multipart():
    data = body((23 << 20) + 12345)
    s3.upload_fileobj(io.BytesIO(data), BUCKET, "multi", Config=TransferConfig(multipart_threshold=1, multipart_chunksize=6 << 20))
    out = io.BytesIO()
    s3.download_fileobj(BUCKET, "multi", out, Config=TransferConfig(multipart_threshold=1, multipart_chunksize=5 << 20))
    assert out.getvalue() == data
    sums = [hashlib.md5(data[i : i + (6 << 20)]).digest() for i in range(0, len(data), 6 << 20)]
    head = s3.head_object(Bucket=BUCKET, Key="multi", PartNumber=2)
    assert head["ETag"] == f'"{hashlib.md5(b"".join(sums)).hexdigest()}-{len(sums)}"', head["ETag"]
    assert head["PartsCount"] == len(sums) and head["ContentLength"] == 6 << 20, head
    assert get("multi", PartNumber=4) == data[18 << 20 :]
    # By hand: parts out of order, numbers with gaps, one sent twice, a copied part, a listing in between.
    s3.put_object(Bucket=BUCKET, Key="source", Body=data[: 6 << 20])
    up = {"Bucket": BUCKET, "Key": "hand", "UploadId": s3.create_multipart_upload(Bucket=BUCKET, Key="hand")["UploadId"]}
    parts = {}
    parts[9] = s3.upload_part(PartNumber=9, Body=b"the end", **up)["ETag"]
    parts[2] = s3.upload_part(PartNumber=2, Body=body(5 << 20), **up)["ETag"]
    parts[2] = s3.upload_part(PartNumber=2, Body=data[: 5 << 20], **up)["ETag"]
    parts[5] = s3.upload_part_copy(PartNumber=5, CopySource={"Bucket": BUCKET, "Key": "source"},
                                   CopySourceRange=f"bytes=100-{(5 << 20) + 99}", **up)["CopyPartResult"]["ETag"]
    listed = {p["PartNumber"]: (p["Size"], p["ETag"]) for p in s3.list_parts(**up)["Parts"]}
    assert listed == {2: (5 << 20, parts[2]), 5: (5 << 20, parts[5]), 9: (7, parts[9])}, listed
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == ["hand"]
    complete = {"Parts": [{"PartNumber": n, "ETag": parts[n]} for n in sorted(parts)]}
    s3.complete_multipart_upload(MultipartUpload=complete, **up)
    assert get("hand") == data[: 5 << 20] + data[100 : (5 << 20) + 100] + b"the end"
    up["UploadId"] = s3.create_multipart_upload(Bucket=BUCKET, Key="hand")["UploadId"]
    s3.upload_part(PartNumber=1, Body=b"x", **up)
    s3.abort_multipart_upload(**up)
    refused("NoSuchUpload", s3.list_parts, **up)


def odd_sizes():
    for sizes in ((5 << 20,), (1,), (5 << 20, 1), ((5 << 20) + 1, (5 << 20) + 65480, 65479), (7654321, 5 << 20, 6000001, 5 << 20)):
        parts = [body(n) for n in sizes]
        up = {"Bucket": BUCKET, "Key": "odd"}
        up["UploadId"] = s3.create_multipart_upload(**up, Metadata={"a": "1"}, ContentType="text/x-odd")["UploadId"]
        etags = [s3.upload_part(**up, PartNumber=3 * n + 1, Body=p)["ETag"] for n, p in enumerate(parts)]
        assert etags == [md5(p) for p in parts]
        first = s3.list_parts(**up, MaxParts=1)
        assert [p["Size"] for p in first["Parts"]] == [sizes[0]] and first["IsTruncated"] == (len(sizes) > 1), first
        done = [{"PartNumber": 3 * n + 1, "ETag": e} for n, e in enumerate(etags)]
        etag = s3.complete_multipart_upload(**up, MultipartUpload={"Parts": done})["ETag"]
        assert etag == f'"{hashlib.md5(b"".join(hashlib.md5(p).digest() for p in parts)).hexdigest()}-{len(parts)}"', etag
        whole = b"".join(parts)
        head = s3.head_object(Bucket=BUCKET, Key="odd")
        assert (head["ContentLength"], head["ETag"], head["Metadata"], head["ContentType"]) == (len(whole), etag, {"a": "1"}, "text/x-odd"), head
        listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="odd")["Contents"][0]
        assert (listed["Size"], listed["ETag"]) == (len(whole), etag), listed
        assert get("odd") == whole
        edge = sizes[0]
        for lo, hi in ((edge - 1, edge), (max(0, edge - 70000), edge + 70000), (0, len(whole) + 5), (len(whole) - 1, len(whole))):
            if lo < len(whole):
                assert get("odd", Range=f"bytes={lo}-{hi}") == whole[lo : hi + 1], (sizes, lo, hi)
    up = {"Bucket": BUCKET, "Key": "short"}
    up["UploadId"] = s3.create_multipart_upload(**up)["UploadId"]
    done = [{"PartNumber": n, "ETag": s3.upload_part(**up, PartNumber=n, Body=b"short")["ETag"]} for n in (1, 2)]
    refused("EntityTooSmall", s3.complete_multipart_upload, **up, MultipartUpload={"Parts": done})
    refused("InvalidPart", s3.complete_multipart_upload, **up, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"0"'}]})
    refused("InvalidPartOrder", s3.complete_multipart_upload, **up, MultipartUpload={"Parts": done[::-1]})
    s3.abort_multipart_upload(**up)


def copies():
    data = body(200000)
    s3.put_object(Bucket=BUCKET, Key="from", Body=data, Metadata={"a": "1"}, ContentType="text/x-a")
    source = {"Bucket": BUCKET, "Key": "from"}
    s3.copy_object(Bucket=BUCKET, Key="to", CopySource=source)
    head = s3.head_object(Bucket=BUCKET, Key="to")
    assert get("to") == data and head["Metadata"] == {"a": "1"} and head["ContentType"] == "text/x-a", head
    s3.copy_object(Bucket=BUCKET, Key="to", CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert get("to") == data and s3.head_object(Bucket=BUCKET, Key="to")["Metadata"] == {"b": "2"}
    s3.copy_object(Bucket=BUCKET, Key="from", CopySource=source, MetadataDirective="REPLACE", Metadata={"c": "3"})
    assert get("from") == data and s3.head_object(Bucket=BUCKET, Key="from")["Metadata"] == {"c": "3"}
    refused("PreconditionFailed", s3.copy_object, Bucket=BUCKET, Key="to", CopySource=source, CopySourceIfMatch='"0"')


def conditions():
    data = body(1000)
    etag = s3.put_object(Bucket=BUCKET, Key="cond", Body=data)["ETag"]
    refused("PreconditionFailed", s3.put_object, Bucket=BUCKET, Key="cond", Body=b"", IfNoneMatch="*")
    refused("PreconditionFailed", s3.put_object, Bucket=BUCKET, Key="cond", Body=b"", IfMatch='"0"')
    refused("PreconditionFailed", s3.get_object, Bucket=BUCKET, Key="cond", IfMatch='"0"')
    refused("304", s3.get_object, Bucket=BUCKET, Key="cond", IfNoneMatch=etag)
    assert get("cond", IfMatch=etag) == data
    s3.put_object(Bucket=BUCKET, Key="cond", Body=b"new", IfMatch=etag)
    assert get("cond") == b"new"
    s3.put_object(Bucket=BUCKET, Key="cond-new", Body=data, IfNoneMatch="*")
    # Of many writers that ask for the same, one gets it.
    etag = s3.head_object(Bucket=BUCKET, Key="cond")["ETag"]

    def write(n):
        try:
            return s3.put_object(Bucket=BUCKET, Key="cond", Body=b"%d" % n, IfMatch=etag)["ETag"]
        except ClientError as e:
            assert e.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"), e
            return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        won = [e for e in pool.map(write, range(8)) if e]
    assert len(won) == 1 and md5(get("cond")) == won[0], won
    # The same for an upload of parts.
    for condition, code in (({"IfNoneMatch": "*"}, "PreconditionFailed"), ({"IfMatch": '"0"'}, "PreconditionFailed"), ({"IfMatch": won[0]}, None)):
        up = {"Bucket": BUCKET, "Key": "cond"}
        up["UploadId"] = s3.create_multipart_upload(**up)["UploadId"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": s3.upload_part(**up, PartNumber=1, Body=b"part")["ETag"]}]}
        if code:
            refused(code, s3.complete_multipart_upload, **up, MultipartUpload=parts, **condition)
            s3.abort_multipart_upload(**up)
        else:
            s3.complete_multipart_upload(**up, MultipartUpload=parts, **condition)
    assert get("cond") == b"part"


def listing():
    sizes = {f"list/{i:03}": i * 997 for i in range(120)}
    for key, size in sizes.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=bytes(size))
    for operation in ("list_objects_v2", "list_objects"):
        pages = s3.get_paginator(operation).paginate(Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": 50})
        found = {o["Key"]: (o["Size"], o["ETag"]) for page in pages for o in page["Contents"]}
        assert found == {k: (n, md5(bytes(n))) for k, n in sizes.items()}, operation
    done = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in sizes]})
    assert len(done["Deleted"]) == len(sizes) and "Errors" not in done, done
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="list/")["KeyCount"] == 0


def presigned():
    data = body(100000)
    context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
    url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "signed"}, ExpiresIn=60)
    urllib.request.urlopen(urllib.request.Request(url, data, method="PUT", headers={"Content-Type": ""}), context=context)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "signed"}, ExpiresIn=60)
    assert urllib.request.urlopen(url, context=context).read() == data
    post = s3.generate_presigned_post(BUCKET, "posted-${filename}", Conditions=[["content-length-range", 1, 1 << 20]])
    boundary = "waxsealboundary"
    form = b"".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in post["fields"].items())
    form += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    urllib.request.urlopen(urllib.request.Request(post["url"], form, headers), context=context)
    assert get("posted-f") == data
    for change in (lambda f: f.replace(data, data + b"x" * (1 << 20)), lambda f: f.replace(b"posted-", b"other-", 1)):
        try:
            urllib.request.urlopen(urllib.request.Request(post["url"], change(form), headers), context=context)
        except urllib.error.HTTPError as e:
            assert e.code in (400, 403), (e.code, e.read())
        else:
            raise AssertionError("a form that its policy does not cover was taken")


def versions_and_tags():
    s3.put_object(Bucket=BUCKET, Key="tags", Body=b"t", Tagging="a=1")
    s3.put_object_tagging(Bucket=BUCKET, Key="tags", Tagging={"TagSet": [{"Key": "b", "Value": "x y+z"}]})
    assert s3.get_object_tagging(Bucket=BUCKET, Key="tags")["TagSet"] == [{"Key": "b", "Value": "x y+z"}]
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    data = [body(1000 * n) for n in range(1, 4)]
    ids = [s3.put_object(Bucket=BUCKET, Key="ver", Body=d)["VersionId"] for d in data]
    for version, d in zip(ids, data):
        assert get("ver", VersionId=version) == d
    listed = s3.list_object_versions(Bucket=BUCKET, Prefix="ver")["Versions"]
    assert [(v["VersionId"], v["Size"], v["ETag"]) for v in listed] == [(i, len(d), md5(d)) for i, d in zip(ids, data)][::-1], listed
    marker = s3.delete_object(Bucket=BUCKET, Key="ver")
    assert marker["DeleteMarker"]
    refused("NoSuchKey", s3.get_object, Bucket=BUCKET, Key="ver")
    s3.delete_object(Bucket=BUCKET, Key="ver", VersionId=marker["VersionId"])
    s3.delete_object(Bucket=BUCKET, Key="ver", VersionId=ids[2])
    assert get("ver") == data[1]


def modes():
    kms = boto3.client("kms", endpoint_url=os.environ["KMS"])
    key = kms.create_key()["KeyMetadata"]["Arn"]
    customer = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": random.randbytes(32)}
    every = [
        ({"ServerSideEncryption": "AES256"}, {}),
        ({"ServerSideEncryption": "aws:kms"}, {}),
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}, {}),
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key, "BucketKeyEnabled": True}, {}),
        ({"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": key}, {}),
    ]
    if os.environ["S3"].startswith("https:"):
        every.append((customer, customer))
    small, large = body(70000), body((12 << 20) + 5)
    for write, read in every:
        for data in (small, large):
            if "BucketKeyEnabled" in write:  # which upload_fileobj does not take
                s3.put_object(Bucket=BUCKET, Key="mode", Body=data, **write)
            else:
                s3.upload_fileobj(io.BytesIO(data), BUCKET, "mode", ExtraArgs=write, Config=TransferConfig(multipart_chunksize=5 << 20))
            head = s3.head_object(Bucket=BUCKET, Key="mode", **read)
            assert head["ContentLength"] == len(data), head
            for name in ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled", "SSECustomerAlgorithm"):
                if name in write:
                    assert head[name] == write[name], (name, head)
            out = io.BytesIO()
            s3.download_fileobj(BUCKET, "mode", out, ExtraArgs=read, Config=TransferConfig(multipart_threshold=1, multipart_chunksize=5 << 20))
            assert out.getvalue() == data, write
            listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="mode")["Contents"][0]
            assert (listed["Size"], listed["ETag"]) == (len(data), head["ETag"]), (listed, head)
            if read:
                refused("400", s3.head_object, Bucket=BUCKET, Key="mode")
                refused("AccessDenied", s3.get_object, Bucket=BUCKET, Key="mode", SSECustomerAlgorithm="AES256", SSECustomerKey=random.randbytes(32))
            source = {f"CopySource{k}": v for k, v in read.items()}
            s3.copy_object(Bucket=BUCKET, Key="mode-copy", CopySource={"Bucket": BUCKET, "Key": "mode"}, ServerSideEncryption="AES256", **source)
            assert get("mode-copy") == data
            s3.copy_object(Bucket=BUCKET, Key="mode-back", CopySource={"Bucket": BUCKET, "Key": "mode-copy"}, **write)
            assert get("mode-back", **read) == data


def encryption():
    rule = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256", rule
    s3.put_object(Bucket=BUCKET, Key="explicit", Body=b"x", ServerSideEncryption="AES256")
    assert json.dumps(s3.head_object(Bucket=BUCKET, Key="explicit")["ServerSideEncryption"]) == '"AES256"'


s3.create_bucket(Bucket=BUCKET)
for flow in (simple, checksums, checksums_of_uploads, multipart, odd_sizes, modes, copies, conditions, listing, presigned, encryption, versions_and_tags):
    print(flow.__name__, flush=True)
    flow()
print("boto3: ok")
