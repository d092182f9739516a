#!/usr/bin/env python3
"""boto3 against several waxseals that share a state: each request goes to the next one, and each setting that one of them has taken is
in force at the next. S3S and KMSS are their endpoints, separated by commas; .ci/clients/replicas.sh starts them."""
import itertools, json, os, time
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CONFIG = Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1})
MIB = 1 << 20


class RoundRobin:
    """RoundRobin sends each call to the next replica."""

    def __init__(self, service, endpoints, key=None, secret=None):
        session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1")
        clients = [session.client(service, endpoint_url=e, config=CONFIG) for e in endpoints]
        self.clients, self.turn = clients, itertools.cycle(clients)

    def __getattr__(self, name):
        return getattr(next(self.turn), name)

    def each(self):
        return self.clients


S3S, KMSS = os.environ["S3S"].split(","), os.environ["KMSS"].split(",")
s3, kms, iam = RoundRobin("s3", S3S), RoundRobin("kms", KMSS), RoundRobin("iam", KMSS)
replicas = len(S3S)
run = "rr" + str(int(time.time()))


def refused(code, call, **parameters):
    try:
        call(**parameters)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, (code, e)
        return
    raise AssertionError(f"not refused with {code}: {parameters}")


def statement(effect="Allow", **more):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": effect, **more}]})


def multipart():
    """Create, parts, ListParts, Complete and Abort, each on another replica; a short part alone, and a large and a short one."""
    for sizes in ([1000], [5 * MIB, 77], [5 * MIB, 5 * MIB, 3 * MIB]):
        for first in range(replicas):
            next(s3.turn)
            key = f"up-{len(sizes)}-{first}"
            upload = s3.create_multipart_upload(Bucket=run, Key=key)["UploadId"]
            bodies = [os.urandom(n) for n in sizes]
            parts = [{"PartNumber": n, "ETag": s3.upload_part(Bucket=run, Key=key, UploadId=upload, PartNumber=n, Body=b)["ETag"]}
                     for n, b in enumerate(bodies, 1)]
            for c in s3.each():
                listed = c.list_parts(Bucket=run, Key=key, UploadId=upload)["Parts"]
                assert [(p["PartNumber"], p["ETag"], p["Size"]) for p in listed] == [
                    (p["PartNumber"], p["ETag"], n) for p, n in zip(parts, sizes)], listed
                assert upload in [u["UploadId"] for u in c.list_multipart_uploads(Bucket=run)["Uploads"]]
            s3.complete_multipart_upload(Bucket=run, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
            for c in s3.each():
                assert c.get_object(Bucket=run, Key=key)["Body"].read() == b"".join(bodies)
                refused("NoSuchUpload", c.list_parts, Bucket=run, Key=key, UploadId=upload)
            upload = s3.create_multipart_upload(Bucket=run, Key=key)["UploadId"]
            s3.upload_part(Bucket=run, Key=key, UploadId=upload, PartNumber=1, Body=b"short")
            s3.abort_multipart_upload(Bucket=run, Key=key, UploadId=upload)
            for c in s3.each():
                refused("NoSuchUpload", c.upload_part, Bucket=run, Key=key, UploadId=upload, PartNumber=2, Body=b"late")
                assert "Uploads" not in c.list_multipart_uploads(Bucket=run)


def bucket_default():
    one, two = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    for key in (one, two, None, one):
        if key:
            s3.put_bucket_encryption(Bucket=run, ServerSideEncryptionConfiguration={"Rules": [
                {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}, "BucketKeyEnabled": True}]})
        else:
            s3.delete_bucket_encryption(Bucket=run)
        for c in s3.each():
            answer = c.put_object(Bucket=run, Key="default", Body=b"x")
            assert (answer["ServerSideEncryption"], answer.get("SSEKMSKeyId")) == (("aws:kms", key) if key else ("AES256", None)), answer
    s3.delete_bucket_encryption(Bucket=run)


def bucket_policy():
    s3.put_object(Bucket=run, Key="policy", Body=b"x")
    for _ in range(replicas):
        s3.put_bucket_policy(Bucket=run, Policy=statement("Deny", Principal="*", Action="s3:PutObject", Resource=f"arn:aws:s3:::{run}/denied/*",
                                                          Condition={"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}))
        for c in s3.each():
            refused("AccessDenied", c.put_object, Bucket=run, Key="denied/a", Body=b"x")
        s3.delete_bucket_policy(Bucket=run)
        for c in s3.each():
            c.put_object(Bucket=run, Key="denied/a", Body=b"x")
            refused("NoSuchBucketPolicy", c.get_bucket_policy, Bucket=run)


def key_state():
    key = kms.create_key()["KeyMetadata"]["Arn"]
    s3.put_object(Bucket=run, Key="state", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=key, BucketKeyEnabled=True)
    for _ in range(replicas):
        for c in s3.each():
            assert c.get_object(Bucket=run, Key="state")["Body"].read() == b"x"
        kms.disable_key(KeyId=key)
        for c, k in zip(s3.each(), kms.each()):
            refused("KMS.DisabledException", c.get_object, Bucket=run, Key="state")
            refused("KMS.DisabledException", c.put_object, Bucket=run, Key="other", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
            assert k.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
        kms.enable_key(KeyId=key)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    for c in s3.each():
        refused("KMS.KMSInvalidStateException", c.get_object, Bucket=run, Key="state")
    kms.cancel_key_deletion(KeyId=key)
    kms.enable_key(KeyId=key)
    for c in s3.each():
        c.get_object(Bucket=run, Key="state")


def alias():
    one, two = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    name = "alias/" + run
    kms.create_alias(AliasName=name, TargetKeyId=one)
    for target in (one, two, one):
        kms.update_alias(AliasName=name, TargetKeyId=target)
        for c, k in zip(s3.each(), kms.each()):
            assert k.describe_key(KeyId=name)["KeyMetadata"]["Arn"] == target
            assert c.put_object(Bucket=run, Key="alias", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=name)["SSEKMSKeyId"] == target
    kms.delete_alias(AliasName=name)
    for k in kms.each():
        refused("NotFoundException", k.describe_key, KeyId=name)


def grant_and_user():
    """A user and its access key, its policy, and a grant: made on one replica, used on the next, taken back on a third."""
    user = iam.create_user(UserName=run)["User"]["Arn"]
    iam.put_user_policy(UserName=run, PolicyName="own", PolicyDocument=statement(Action="s3:*", Resource="*"))
    made = iam.create_access_key(UserName=run)["AccessKey"]
    theirs, their_kms = (RoundRobin(service, at, made["AccessKeyId"], made["SecretAccessKey"]) for service, at in (("s3", S3S), ("kms", KMSS)))
    for c in theirs.each():
        c.list_objects_v2(Bucket=run)
    key = kms.create_key()["KeyMetadata"]["Arn"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    for _ in range(replicas):
        for k in their_kms.each():
            refused("AccessDeniedException", k.decrypt, KeyId=key, CiphertextBlob=blob)
        grant = kms.create_grant(KeyId=key, GranteePrincipal=user, Operations=["Decrypt"])["GrantId"]
        for k in their_kms.each():
            assert k.decrypt(KeyId=key, CiphertextBlob=blob)["Plaintext"] == b"x"
        kms.revoke_grant(KeyId=key, GrantId=grant)
    iam.delete_user_policy(UserName=run, PolicyName="own")
    for c in theirs.each():
        refused("AccessDenied", c.list_objects_v2, Bucket=run)
    iam.delete_access_key(UserName=run, AccessKeyId=made["AccessKeyId"])
    for c in theirs.each():
        refused("InvalidAccessKeyId", c.list_objects_v2, Bucket=run)
    iam.delete_user(UserName=run)


def rotation():
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    for number in range(1, replicas + 1):
        blob = kms.encrypt(KeyId=key, Plaintext=b"before")["CiphertextBlob"]
        kms.rotate_key_on_demand(KeyId=key)
        for k in kms.each():
            assert len(k.list_key_rotations(KeyId=key)["Rotations"]) == number
            assert k.decrypt(CiphertextBlob=blob)["Plaintext"] == b"before"
            assert k.decrypt(CiphertextBlob=kms.encrypt(KeyId=key, Plaintext=b"after")["CiphertextBlob"])["Plaintext"] == b"after"
    kms.enable_key_rotation(KeyId=key)
    for k in kms.each():
        assert k.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]


s3.create_bucket(Bucket=run)
for c in s3.each():
    assert run in [b["Name"] for b in c.list_buckets()["Buckets"]]
    assert not [b["Name"] for b in c.list_buckets()["Buckets"] if "staged" in b["Name"]], "the staging bucket is shown"
for flow in (multipart, bucket_default, bucket_policy, key_state, alias, grant_and_user, rotation):
    began = time.time()
    flow()
    print(f"{flow.__name__}: ok ({time.time() - began:.1f} s)", flush=True)
