"""Prints requests that botocore signed, one JSON object a line, without sending them."""
import base64
import io
import json
import sys

import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config

KEY, SECRET = sys.argv[1], sys.argv[2]
KEYS = ["plain.txt", "with space", "a//b", "/leading", "a/../b", "plus+plus", "per%cent", "%2F", "ünïcödé/日本語",
        "~tilde*star(paren)!bang'quote", "semi;colon:at@and&eq=dollar$comma,q?hash#", "back\\slash", "a\x01b"]


class Body(io.BytesIO):
    def stream(self, *args, **kwargs):
        yield b"{}"


def emit(request, kind):
    body = request.body or b""
    if hasattr(body, "read"):
        body = body.read()
    if isinstance(body, str):
        body = body.encode()
    headers = [[k, v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else str(v)] for k, v in request.headers.items()]
    print(json.dumps({"kind": kind, "method": request.method, "url": request.url, "headers": headers,
                      "body": base64.b64encode(body).decode()}))


def client(service, endpoint, **config):
    c = botocore.session.get_session().create_client(
        service, region_name="us-east-1", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
        config=Config(retries={"max_attempts": 0}, **config))
    return c


def capture(c, kind):
    def hook(request, **kwargs):
        emit(request, kind)
        return AWSResponse(request.url, 200, {}, Body(b"{}"))
    c.meta.events.register("before-send", hook)


def call(fn, **kwargs):
    try:
        fn(**kwargs)
    except Exception as err:  # the made-up answer does not parse as every operation's; the request was signed
        print(type(err).__name__, err, file=sys.stderr)


style = {"addressing_style": "path"}
for scheme in ("http", "https"):
    s3 = client("s3", scheme + "://127.0.0.1:9800", s3=style)
    capture(s3, "header")
    for key in KEYS:
        call(s3.put_object, Bucket="bucket", Key=key, Body=b"hello " * 5000, Metadata={"a": "b  c", "n": "1"})
        call(s3.get_object, Bucket="bucket", Key=key)
        call(s3.copy_object, Bucket="bucket", Key=key, CopySource={"Bucket": "bucket", "Key": key})
    call(s3.list_objects_v2, Bucket="bucket", Prefix="a b+c/*~'()!", Delimiter="/", StartAfter="ü")
    call(s3.upload_part, Bucket="bucket", Key="k", UploadId="a+b/c=", PartNumber=1, Body=io.BytesIO(b"x" * 100000))
    call(s3.delete_objects, Bucket="bucket", Delete={"Objects": [{"Key": k} for k in ("a", "b")]})
    call(s3.list_buckets)
virtual = client("s3", "http://localhost:9800", s3={"addressing_style": "virtual"})
capture(virtual, "header")
call(virtual.put_object, Bucket="bucket", Key="with space", Body=b"x")
signed = client("s3", "http://127.0.0.1:9800", s3=dict(style, payload_signing_enabled=True))
capture(signed, "header")
call(signed.put_object, Bucket="bucket", Key="k", Body=b"signed body")

for version, kind in (("s3v4", "presigned"), ("s3", "presigned-v2")):
    p = client("s3", "http://127.0.0.1:9800", s3=style, signature_version=version)
    for key in KEYS:
        url = p.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": key, "VersionId": "1+2/3=",
                                       "ResponseContentDisposition": 'attachment; filename="ü b.txt"'}, ExpiresIn=600)
        print(json.dumps({"kind": kind, "method": "GET", "url": url, "headers": [], "body": ""}))
        url = p.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": key, "ServerSideEncryption": "AES256"}, ExpiresIn=600)
        print(json.dumps({"kind": kind, "method": "PUT", "url": url, "headers": [] if version == "s3" else [["x-amz-server-side-encryption", "AES256"]], "body": ""}))
    post = p.generate_presigned_post("bucket", "k-${filename}", Fields={"acl": "private"}, Conditions=[{"acl": "private"}, ["content-length-range", 1, 10]])
    print(json.dumps({"kind": "post" if version == "s3v4" else "post-v2", "method": "POST", "url": post["url"], "headers": list(post["fields"].items()), "body": ""}))

v2 = client("s3", "http://127.0.0.1:9800", s3=style, signature_version="s3")
capture(v2, "header-v2")
for key in KEYS:
    call(v2.put_object, Bucket="bucket", Key=key, Body=b"x", Metadata={"a": "b  c"})
call(v2.list_multipart_uploads, Bucket="bucket", Prefix="a b")
call(v2.get_object, Bucket="bucket", Key="k", ResponseContentType="text/plain; x", VersionId="1")

kms = client("kms", "http://127.0.0.1:9801")
capture(kms, "kms")
call(kms.list_keys)
call(kms.encrypt, KeyId="alias/a", Plaintext=b"x", EncryptionContext={"a": "ü"})
