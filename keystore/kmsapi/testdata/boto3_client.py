"""Drives a KMS endpoint with boto3: python3 boto3_client.py URL REGION"""
import hashlib
import sys

import boto3
from botocore.exceptions import ClientError

kms = boto3.client("kms", endpoint_url=sys.argv[1], region_name=sys.argv[2])
done = set()


def call(op, **kwargs):
    done.add(op)
    return getattr(kms, op)(**kwargs)


def fails(code, op, **kwargs):
    try:
        call(op, **kwargs)
    except ClientError as e:
        got = e.response["Error"]["Code"]
        assert got == code, f"{op}: {got}, want {code}"
        assert e.response["ResponseMetadata"]["RequestId"], op
        return e.response["Error"]["Message"]
    raise AssertionError(f"{op} succeeded, want {code}")


# The calls of the source documents, verbatim.
key = call("create_key")["KeyMetadata"]
key_id = key["KeyId"]
data_key = call("generate_data_key", KeyId=key_id, KeySpec="AES_256")
assert len(data_key["Plaintext"]) == 32 and data_key["KeyId"] == key["Arn"]
encrypted = call("encrypt", KeyId=key_id, Plaintext=b"plain text")
assert call("decrypt", CiphertextBlob=encrypted["CiphertextBlob"], KeyId=key_id)["Plaintext"] == b"plain text"
assert call("decrypt", CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
assert key_id in [k["KeyId"] for k in call("list_keys")["Keys"]]
assert call("describe_key", KeyId=key_id)["KeyMetadata"] == key

# Life cycle.
call("update_key_description", KeyId=key_id, Description="d")
call("disable_key", KeyId=key_id)
assert fails("DisabledException", "encrypt", KeyId=key_id, Plaintext=b"x") == key["Arn"] + " is disabled."
call("enable_key", KeyId=key_id)
assert call("schedule_key_deletion", KeyId=key_id, PendingWindowInDays=7)["KeyState"] == "PendingDeletion"
fails("KMSInvalidStateException", "schedule_key_deletion", KeyId=key_id)
call("cancel_key_deletion", KeyId=key_id)
call("enable_key", KeyId=key_id)
fails("ValidationException", "schedule_key_deletion", KeyId=key_id, PendingWindowInDays=3)
fails("ValidationException", "schedule_key_deletion", KeyId=key_id, PendingWindowInDays=400)

# Aliases.
call("create_alias", AliasName="alias/a", TargetKeyId=key_id)
other = call("create_key", Tags=[{"TagKey": "k", "TagValue": "v"}], Description="other")["KeyMetadata"]
call("update_alias", AliasName="alias/a", TargetKeyId=other["KeyId"])
assert call("list_aliases", KeyId=other["KeyId"])["Aliases"][0]["AliasName"] == "alias/a"
assert call("describe_key", KeyId="alias/a")["KeyMetadata"]["KeyId"] == other["KeyId"]
call("delete_alias", AliasName="alias/a")

# Tags, policies.
call("tag_resource", KeyId=key_id, Tags=[{"TagKey": "a", "TagValue": "1"}])
assert call("list_resource_tags", KeyId=key_id)["Tags"] == [{"TagKey": "a", "TagValue": "1"}]
call("untag_resource", KeyId=key_id, TagKeys=["a"])
policy = call("get_key_policy", KeyId=key_id, PolicyName="default")["Policy"]
call("put_key_policy", KeyId=key_id, PolicyName="default", Policy=policy)
assert call("list_key_policies", KeyId=key_id)["PolicyNames"] == ["default"]

# Grants.
bob = "arn:aws:iam::111122223333:user/bob"
grant = call("create_grant", KeyId=key_id, GranteePrincipal=bob, RetiringPrincipal=bob, Operations=["Decrypt"])
assert call("list_grants", KeyId=key_id)["Grants"][0]["GrantId"] == grant["GrantId"]
assert call("list_retirable_grants", RetiringPrincipal=bob)["Grants"][0]["GrantId"] == grant["GrantId"]
call("retire_grant", KeyId=key["Arn"], GrantId=grant["GrantId"])
grant = call("create_grant", KeyId=key_id, GranteePrincipal=bob, Operations=["Decrypt"])
call("revoke_grant", KeyId=key_id, GrantId=grant["GrantId"])

# Rotation.
call("enable_key_rotation", KeyId=key_id)
assert call("get_key_rotation_status", KeyId=key_id)["RotationPeriodInDays"] == 365
call("disable_key_rotation", KeyId=key_id)
call("rotate_key_on_demand", KeyId=key_id)
assert len(call("list_key_rotations", KeyId=key_id)["Rotations"]) == 1
fails("ValidationException", "enable_key_rotation", KeyId=key_id, RotationPeriodInDays=3000)

# Cryptography.
context = {"a": "1", "b": "2"}
blob = call("encrypt", KeyId=key_id, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
assert call("decrypt", CiphertextBlob=blob, EncryptionContext={"b": "2", "a": "1"})["Plaintext"] == b"x"
assert fails("InvalidCiphertextException", "decrypt", CiphertextBlob=blob, EncryptionContext={"a": "1"}) == ""
blob = call("re_encrypt", CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=other["KeyId"])["CiphertextBlob"]
assert call("decrypt", CiphertextBlob=blob)["KeyId"] == other["Arn"]
call("generate_data_key_without_plaintext", KeyId=key_id, NumberOfBytes=64)
call("generate_data_key_pair", KeyId=key_id, KeyPairSpec="ECC_NIST_P256")
call("generate_data_key_pair_without_plaintext", KeyId=key_id, KeyPairSpec="ECC_NIST_P256")
assert len(call("generate_random", NumberOfBytes=9)["Plaintext"]) == 9
signing = call("create_key", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
digest = hashlib.sha256(b"m").digest()
signature = call("sign", KeyId=signing, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256")["Signature"]
assert call("verify", KeyId=signing, Message=b"m", Signature=signature, SigningAlgorithm="ECDSA_SHA_256")["SignatureValid"]
assert call("get_public_key", KeyId=signing)["SigningAlgorithms"] == ["ECDSA_SHA_256"]
mac = call("create_key", KeySpec="HMAC_512", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
tag = call("generate_mac", KeyId=mac, Message=b"m", MacAlgorithm="HMAC_SHA_512")["Mac"]
assert call("verify_mac", KeyId=mac, Message=b"m", Mac=tag, MacAlgorithm="HMAC_SHA_512")["MacValid"]
fails("KMSInvalidMacException", "verify_mac", KeyId=mac, Message=b"n", Mac=tag, MacAlgorithm="HMAC_SHA_512")
assert call("get_key_last_usage", KeyId=mac)["KeyLastUsage"]["Operation"] == "VerifyMac"
fails("UnsupportedOperationException", "create_key", MultiRegion=True)
fails("NotFoundException", "describe_key", KeyId="x")
print(len(done), "operations")
