#!/usr/bin/env python3
"""boto3 against a waxseal at $S3, with nothing switched off: default checksums in trailers included."""
import base64
import hashlib
import io
import json
import os
import random
import urllib.request
import ssl

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


def checksums():
    data = body(300000)
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        key = f"sum-{algorithm}"
        put = s3.put_object(Bucket=BUCKET, Key=key, Body=data, ChecksumAlgorithm=algorithm)
        field = f"Checksum{algorithm}"
        head = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        assert put[field] == head[field], (put, head)
        attributes = s3.get_object_attributes(Bucket=BUCKET, Key=key, ObjectAttributes=["Checksum", "ETag", "ObjectSize"])
        assert attributes["Checksum"][field] == put[field] and attributes["ObjectSize"] == len(data), attributes
    want = base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert s3.head_object(Bucket=BUCKET, Key="sum-SHA256", ChecksumMode="ENABLED")["ChecksumSHA256"] == want
    refused("BadDigest", s3.put_object, Bucket=BUCKET, Key="bad", Body=data, ChecksumSHA256=base64.b64encode(bytes(32)).decode())
    refused("NoSuchKey", s3.get_object, Bucket=BUCKET, Key="bad")


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


def versions_and_tags():
    s3.put_object(Bucket=BUCKET, Key="tags", Body=b"t", Tagging="a=1")
    s3.put_object_tagging(Bucket=BUCKET, Key="tags", Tagging={"TagSet": [{"Key": "b", "Value": "ü"}]})
    assert s3.get_object_tagging(Bucket=BUCKET, Key="tags")["TagSet"] == [{"Key": "b", "Value": "ü"}]
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


def encryption():
    rule = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256", rule
    s3.put_object(Bucket=BUCKET, Key="explicit", Body=b"x", ServerSideEncryption="AES256")
    assert json.dumps(s3.head_object(Bucket=BUCKET, Key="explicit")["ServerSideEncryption"]) == '"AES256"'


s3.create_bucket(Bucket=BUCKET)
for flow in (simple, checksums, multipart, copies, conditions, listing, presigned, encryption, versions_and_tags):
    print(flow.__name__, flush=True)
    flow()
print("boto3: ok")
