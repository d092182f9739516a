#!/usr/bin/env python3
"""IAM, STS and temporary credentials with boto3 against a running waxseal.

    S3=http://127.0.0.1:9800 KMS=http://127.0.0.1:9801 AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... .ci/clients/identity.py ISSUER JWKS_KEY

The credentials are root's. waxseal must have in its configuration file the issuer with a jwks_file that belongs to the private key in the
PEM file JWKS_KEY (ES256, key id "k"); without the two arguments web identities are left out.
"""
import base64, json, os, sys, tempfile, time
import boto3, botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

S3, KMS = os.environ["S3"], os.environ["KMS"]
REGION = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
CONFIG = Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1})


def session(key=None, secret=None, token=None):
    return boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token, region_name=REGION)


def refused(code, call, **parameters):
    try:
        call(**parameters)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, (code, e)
        return
    raise AssertionError("not refused: " + str(parameters))


def statement(effect="Allow", **more):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": effect, **more}]})


root = session()
iam, sts = root.client("iam", endpoint_url=KMS), root.client("sts", endpoint_url=KMS)
run = "ci" + str(int(time.time()))
me = sts.get_caller_identity()
account = me["Account"]
assert me["Arn"].endswith(":root"), me
assert root.client("sts", endpoint_url=S3).get_caller_identity()["Arn"] == me["Arn"]

# A user with two keys that overlap.
user = iam.create_user(UserName=run)["User"]
iam.put_user_policy(UserName=run, PolicyName="own", PolicyDocument=statement(Action=["s3:*", "kms:*"], Resource="*"))
first = iam.create_access_key(UserName=run)["AccessKey"]
s3 = session(first["AccessKeyId"], first["SecretAccessKey"]).client("s3", endpoint_url=S3, config=CONFIG)
s3.create_bucket(Bucket=run)
key = root.client("kms", endpoint_url=KMS).create_key()["KeyMetadata"]["Arn"]
s3.put_object(Bucket=run, Key="lake/t1/f", Body=b"hello", ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
second = iam.create_access_key(UserName=run)["AccessKey"]
refused("LimitExceeded", iam.create_access_key, UserName=run)
iam.update_access_key(UserName=run, AccessKeyId=first["AccessKeyId"], Status="Inactive")
refused("InvalidAccessKeyId", s3.get_object, Bucket=run, Key="lake/t1/f")
s3 = session(second["AccessKeyId"], second["SecretAccessKey"]).client("s3", endpoint_url=S3, config=CONFIG)
assert s3.get_object(Bucket=run, Key="lake/t1/f")["Body"].read() == b"hello"
iam.delete_access_key(UserName=run, AccessKeyId=first["AccessKeyId"])
used = iam.get_access_key_last_used(AccessKeyId=second["AccessKeyId"])
assert used["AccessKeyLastUsed"]["ServiceName"] == "s3", used

# A right that is taken away ends at once, also where it was used a moment ago.
iam.put_user_policy(UserName=run, PolicyName="own", PolicyDocument=statement(Action="s3:*", Resource="*"))
refused("AccessDenied", s3.get_object, Bucket=run, Key="lake/t1/f")
iam.put_user_policy(UserName=run, PolicyName="own", PolicyDocument=statement(Action=["s3:*", "kms:*"], Resource="*"))
s3.get_object(Bucket=run, Key="lake/t1/f")

# A role, by boto3's AssumeRole provider out of a profile, and a catalogue that vends a table's prefix.
role = iam.create_role(RoleName=run, AssumeRolePolicyDocument=statement(Principal={"AWS": user["Arn"]}, Action="sts:AssumeRole"))["Role"]
iam.put_role_policy(RoleName=run, PolicyName="own", PolicyDocument=statement(Action=["s3:*", "kms:*"], Resource="*"))
refused("AccessDenied", sts.assume_role, RoleArn=role["Arn"], RoleSessionName="root-may-not")
with tempfile.TemporaryDirectory() as d:
    with open(d + "/config", "w") as f:
        f.write(f"[profile app]\nrole_arn={role['Arn']}\nsource_profile=base\nregion={REGION}\n[profile base]\naws_access_key_id={second['AccessKeyId']}\n"
                f"aws_secret_access_key={second['SecretAccessKey']}\nregion={REGION}\n")
    saved = {k: os.environ.pop(k) for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN") if k in os.environ}
    os.environ.update(AWS_CONFIG_FILE=d + "/config", AWS_ENDPOINT_URL_STS=KMS)
    assumed = boto3.Session(profile_name="app")
    assert ":assumed-role/" + run in assumed.client("sts").get_caller_identity()["Arn"]
    assert assumed.client("s3", endpoint_url=S3, config=CONFIG).get_object(Bucket=run, Key="lake/t1/f")["Body"].read() == b"hello"
    assumed.client("kms", endpoint_url=KMS).list_keys()
    del os.environ["AWS_CONFIG_FILE"]
    os.environ.update(saved)
catalogue = session(second["AccessKeyId"], second["SecretAccessKey"]).client("sts", endpoint_url=S3)
vended = catalogue.assume_role(RoleArn=role["Arn"], RoleSessionName="table", DurationSeconds=900, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"arn:aws:s3:::{run}/lake/t1/*"},
    {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}))["Credentials"]
scoped = session(vended["AccessKeyId"], vended["SecretAccessKey"], vended["SessionToken"])
s3 = scoped.client("s3", endpoint_url=S3, config=CONFIG)
s3.put_object(Bucket=run, Key="lake/t1/g", Body=b"there")
refused("AccessDenied", s3.put_object, Bucket=run, Key="lake/t2/g", Body=b"x")
refused("AccessDenied", s3.list_objects_v2, Bucket=run)

# The session in a presigned URL and in a form.
import urllib.request, urllib.error
url = s3.generate_presigned_url("get_object", Params={"Bucket": run, "Key": "lake/t1/g"}, ExpiresIn=60)
assert "X-Amz-Security-Token" in url and urllib.request.urlopen(url).read() == b"there"
try:
    urllib.request.urlopen(url.replace("X-Amz-Security-Token=", "X-Amz-Security-Token=A"))
    raise AssertionError("a changed token was taken")
except urllib.error.HTTPError as e:
    assert e.code in (400, 403), e
post = s3.generate_presigned_post(run, "lake/t1/form", ExpiresIn=60)
assert "x-amz-security-token" in post["fields"], post
boundary, body = "xxxxboundaryxxxx", b""
for name, value in post["fields"].items():
    body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
body += f'--{boundary}\r\nContent-Disposition: form-data; name="file"\r\n\r\nformed\r\n--{boundary}--\r\n'.encode()
urllib.request.urlopen(urllib.request.Request(post["url"], body, {"Content-Type": "multipart/form-data; boundary=" + boundary}))
assert s3.get_object(Bucket=run, Key="lake/t1/form")["Body"].read() == b"formed"

# What AWS has and waxseal does not is refused by name.
refused("NotImplemented", iam.tag_user, UserName=run, Tags=[{"Key": "a", "Value": "b"}])
refused("ValidationError", catalogue.assume_role, RoleArn=role["Arn"], RoleSessionName="table", SourceIdentity="somebody")
refused("NotImplemented", catalogue.get_session_token)

if len(sys.argv) == 3:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    issuer = sys.argv[1]
    with open(sys.argv[2], "rb") as f:
        key = serialization.load_pem_private_key(f.read(), None)

    def token(**change):
        b64 = lambda b: base64.urlsafe_b64encode(b).rstrip(b"=")
        claims = {"iss": issuer, "sub": "system:serviceaccount:jobs:etl", "aud": "sts.amazonaws.com", "exp": int(time.time()) + 600, **change}
        text = b64(b'{"alg":"ES256","kid":"k"}') + b"." + b64(json.dumps(claims).encode())
        r, s = utils.decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
        return (text + b"." + b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))).decode()

    provider = iam.create_open_id_connect_provider(Url=issuer, ClientIDList=["sts.amazonaws.com"])["OpenIDConnectProviderArn"]
    name = issuer.removeprefix("https://")
    refused("MalformedPolicyDocument", iam.create_role, RoleName=run + "-pod", AssumeRolePolicyDocument=statement(
        Principal={"Federated": provider}, Action="sts:AssumeRoleWithWebIdentity"))
    pod = iam.create_role(RoleName=run + "-pod", AssumeRolePolicyDocument=statement(
        Principal={"Federated": provider}, Action="sts:AssumeRoleWithWebIdentity",
        Condition={"StringEquals": {name + ":sub": "system:serviceaccount:jobs:etl", name + ":aud": "sts.amazonaws.com"}}))["Role"]
    iam.put_role_policy(RoleName=run + "-pod", PolicyName="own", PolicyDocument=statement(Action=["s3:*", "kms:*"], Resource="*"))
    with tempfile.NamedTemporaryFile("w") as f:
        f.write(token())
        f.flush()
        saved = {k: os.environ.pop(k) for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        os.environ.update(AWS_WEB_IDENTITY_TOKEN_FILE=f.name, AWS_ROLE_ARN=pod["Arn"], AWS_ROLE_SESSION_NAME="etl-1", AWS_ENDPOINT_URL_STS=KMS)
        workload = boto3.Session(region_name=REGION)
        assert workload.client("sts").get_caller_identity()["Arn"].endswith(f":assumed-role/{run}-pod/etl-1")
        assert workload.client("s3", endpoint_url=S3, config=CONFIG).get_object(Bucket=run, Key="lake/t1/f")["Body"].read() == b"hello"
        for k in ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME"):
            del os.environ[k]
        os.environ.update(saved)
    web = dict(RoleArn=pod["Arn"], RoleSessionName="etl-2")
    refused("AccessDenied", sts.assume_role_with_web_identity, WebIdentityToken=token(sub="system:serviceaccount:jobs:other"), **web)
    refused("InvalidIdentityToken", sts.assume_role_with_web_identity, WebIdentityToken=token(aud="another"), **web)
    refused("ExpiredTokenException", sts.assume_role_with_web_identity, WebIdentityToken=token(exp=int(time.time())), **web)
    iam.delete_role_policy(RoleName=run + "-pod", PolicyName="own")
    iam.delete_role(RoleName=run + "-pod")
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider)

# A role that goes ends its sessions.
iam.delete_role_policy(RoleName=run, PolicyName="own")
iam.delete_role(RoleName=run)
refused("InvalidToken", s3.get_object, Bucket=run, Key="lake/t1/g")
print("identity: ok")
