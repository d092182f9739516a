#!/usr/bin/env python3
"""boto3 against the key service at $KMS: every operation of botocore's model of KMS is driven, or refused by name."""
import datetime
import json
import os
import subprocess
import tempfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ACCOUNT, REGION = "000000000000", os.environ.get("KMS_REGION", "us-east-1")
ROOT, ALICE = f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:iam::{ACCOUNT}:user/alice"
driven = set()


def client(**config):
    c = boto3.client("kms", endpoint_url=os.environ["KMS"], region_name=REGION, config=Config(retries={"total_max_attempts": 1}, **config))
    c.meta.events.register("before-call.kms", lambda model, **_: driven.add(model.name))
    return c


kms = client()


def refused(code, call, **kw):
    try:
        call(**kw)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
    else:
        raise AssertionError(f"was not refused with {code}")


def new_key(**kw):
    return kms.create_key(**kw)["KeyMetadata"]["KeyId"]


def state(key):
    return kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]


def pages(name, field, **kw):
    out = []
    for page in kms.get_paginator(name).paginate(PaginationConfig={"PageSize": 2}, **kw):
        out += page[field]
    return out


def lifecycle():
    key = new_key(Description="first", Tags=[{"TagKey": "team", "TagValue": "blue"}])
    kms.update_key_description(KeyId=key, Description="second")
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["Description"] == "second"
    kms.disable_key(KeyId=key)
    refused("DisabledException", kms.encrypt, KeyId=key, Plaintext=b"x")
    kms.enable_key(KeyId=key)
    assert state(key) == "Enabled"
    assert key in [k["KeyId"] for k in pages("list_keys", "Keys")]
    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "stage", "TagValue": "test"}])
    kms.untag_resource(KeyId=key, TagKeys=["team"])
    assert pages("list_resource_tags", "Tags", KeyId=key) == [{"TagKey": "stage", "TagValue": "test"}]
    at = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)["DeletionDate"]
    days = (at - datetime.datetime.now(at.tzinfo)).total_seconds() / 86400
    assert 6.9 < days < 7.1 and state(key) == "PendingDeletion", (days, state(key))
    kms.cancel_key_deletion(KeyId=key)
    assert state(key) == "Disabled"


def aliases():
    one, two = new_key(), new_key()
    kms.create_alias(AliasName="alias/boto3", TargetKeyId=one)
    refused("AlreadyExistsException", kms.create_alias, AliasName="alias/boto3", TargetKeyId=two)
    assert [a["AliasName"] for a in pages("list_aliases", "Aliases", KeyId=one)] == ["alias/boto3"]
    kms.update_alias(AliasName="alias/boto3", TargetKeyId=two)
    assert kms.describe_key(KeyId="alias/boto3")["KeyMetadata"]["KeyId"] == two
    kms.delete_alias(AliasName="alias/boto3")
    refused("NotFoundException", kms.describe_key, KeyId="alias/boto3")


def policies():
    key = new_key()
    assert kms.list_key_policies(KeyId=key)["PolicyNames"] == ["default"]
    policy = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    policy["Statement"].append({"Sid": "alice", "Effect": "Allow", "Principal": {"AWS": ALICE}, "Action": "kms:Decrypt", "Resource": "*"})
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    assert json.loads(kms.get_key_policy(KeyId=key)["Policy"]) == policy
    refused("MalformedPolicyDocumentException", kms.put_key_policy, KeyId=key, Policy="{")


def grants():
    key = new_key()
    made = kms.create_grant(KeyId=key, GranteePrincipal=ALICE, RetiringPrincipal=ROOT, Operations=["Encrypt", "Decrypt"],
                            Constraints={"EncryptionContextSubset": {"tenant": "blue"}}, Name="blue")
    assert [g["GrantId"] for g in pages("list_grants", "Grants", KeyId=key)] == [made["GrantId"]]
    assert made["GrantId"] in [g["GrantId"] for g in kms.list_retirable_grants(RetiringPrincipal=ROOT)["Grants"]]
    kms.retire_grant(GrantToken=made["GrantToken"])
    made = kms.create_grant(KeyId=key, GranteePrincipal=ALICE, Operations=["Decrypt"])
    kms.revoke_grant(KeyId=key, GrantId=made["GrantId"])
    assert pages("list_grants", "Grants", KeyId=key) == []


def encryption():
    key, other, context = new_key(), new_key(), {"tenant": "blue"}
    blob = kms.encrypt(KeyId=key, Plaintext=b"hello", EncryptionContext=context)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"hello"
    refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=blob)
    refused("IncorrectKeyException", kms.decrypt, CiphertextBlob=blob, EncryptionContext=context, KeyId=other)
    again = kms.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=other)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=again, KeyId=other)["Plaintext"] == b"hello"
    for call in (kms.generate_data_key, kms.generate_data_key_without_plaintext):
        data = call(KeyId=key, KeySpec="AES_256", EncryptionContext=context)
        opened = kms.decrypt(CiphertextBlob=data["CiphertextBlob"], EncryptionContext=context)["Plaintext"]
        assert len(opened) == 32 and data.get("Plaintext", opened) == opened
    for call in (kms.generate_data_key_pair, kms.generate_data_key_pair_without_plaintext):
        pair = call(KeyId=key, KeyPairSpec="ECC_NIST_P256")
        opened = kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"])["Plaintext"]
        assert pair.get("PrivateKeyPlaintext", opened) == opened and pair["PublicKey"]
    assert len(kms.generate_random(NumberOfBytes=48)["Plaintext"]) == 48
    last = kms.get_key_last_usage(KeyId=key)
    assert last["KeyLastUsage"]["Operation"] if "KeyLastUsage" in last else last, last


def rotation():
    key = new_key()
    blob = kms.encrypt(KeyId=key, Plaintext=b"old")["CiphertextBlob"]
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    status = kms.get_key_rotation_status(KeyId=key)
    assert status["KeyRotationEnabled"] and status["RotationPeriodInDays"] == 90
    kms.rotate_key_on_demand(KeyId=key)
    assert [r["RotationType"] for r in pages("list_key_rotations", "Rotations", KeyId=key)] == ["ON_DEMAND"]
    kms.disable_key_rotation(KeyId=key)
    assert not kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"old"


def imported():
    key = new_key(Origin="EXTERNAL")
    wrap = kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_4096")
    with tempfile.TemporaryDirectory() as d:
        with open(f"{d}/public", "wb") as f:
            f.write(wrap["PublicKey"])
        material = subprocess.run(["openssl", "pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", f"{d}/public", "-pkeyopt", "rsa_padding_mode:oaep",
                                   "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256"], input=os.urandom(32), stdout=subprocess.PIPE, check=True).stdout
    kms.import_key_material(KeyId=key, ImportToken=wrap["ImportToken"], EncryptedKeyMaterial=material,
                            ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")
    blob = kms.encrypt(KeyId=key, Plaintext=b"mine")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"mine"
    kms.delete_imported_key_material(KeyId=key)
    assert state(key) == "PendingImport"
    refused("KMSInvalidStateException", kms.decrypt, CiphertextBlob=blob)


def asymmetric():
    for spec, algorithm in (("ECC_NIST_P256", "ECDSA_SHA_256"), ("RSA_2048", "RSASSA_PSS_SHA_256")):
        key = new_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")
        signature = kms.sign(KeyId=key, Message=b"message", SigningAlgorithm=algorithm)["Signature"]
        assert kms.verify(KeyId=key, Message=b"message", Signature=signature, SigningAlgorithm=algorithm)["SignatureValid"]
        refused("KMSInvalidSignatureException", kms.verify, KeyId=key, Message=b"another", Signature=signature, SigningAlgorithm=algorithm)
        assert kms.get_public_key(KeyId=key)["KeySpec"] == spec
    key = new_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
    blob = kms.encrypt(KeyId=key, Plaintext=b"rsa", EncryptionAlgorithm="RSAES_OAEP_SHA_256")["CiphertextBlob"]
    assert kms.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionAlgorithm="RSAES_OAEP_SHA_256")["Plaintext"] == b"rsa"
    key = new_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    mac = kms.generate_mac(KeyId=key, Message=b"message", MacAlgorithm="HMAC_SHA_256")["Mac"]
    assert kms.verify_mac(KeyId=key, Message=b"message", Mac=mac, MacAlgorithm="HMAC_SHA_256")["MacValid"]
    refused("KMSInvalidMacException", kms.verify_mac, KeyId=key, Message=b"another", Mac=mac, MacAlgorithm="HMAC_SHA_256")
    if "DeriveSharedSecret" in kms.meta.service_model.operation_names:
        mine, theirs = (new_key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT") for _ in range(2))
        secrets = {kms.derive_shared_secret(KeyId=a, KeyAgreementAlgorithm="ECDH", PublicKey=kms.get_public_key(KeyId=b)["PublicKey"])["SharedSecret"]
                   for a, b in ((mine, theirs), (theirs, mine))}
        assert len(secrets) == 1


# What the key service does not have, and refuses by name: key stores of one's own, keys of several Regions.
REFUSED = {"ConnectCustomKeyStore", "CreateCustomKeyStore", "DeleteCustomKeyStore", "DescribeCustomKeyStores", "DisconnectCustomKeyStore",
           "UpdateCustomKeyStore", "ReplicateKey", "UpdatePrimaryRegion"}

for flow in (lifecycle, aliases, policies, grants, encryption, rotation, imported, asymmetric):
    flow()
    print(f"# {flow.__name__}: ok")

missing = set(kms.meta.service_model.operation_names) - driven - REFUSED
assert not missing, f"of the model and not driven: {sorted(missing)}"
count = len(driven)
unchecked = client(parameter_validation=False)
for operation in sorted(REFUSED):
    name = "".join("_" + c.lower() if c.isupper() else c for c in operation).lstrip("_")
    refused("UnsupportedOperationException", getattr(unchecked, name))
print(f"# {count} operations driven, {len(REFUSED)} refused by name")
