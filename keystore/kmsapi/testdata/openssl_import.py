"""Imports key material with the openssl command: python3 openssl_import.py URL REGION DIRECTORY

The commands are those of the AWS documentation for each wrapping algorithm."""
import os
import subprocess
import sys
import time

import boto3
from botocore.exceptions import ClientError

kms = boto3.client("kms", endpoint_url=sys.argv[1], region_name=sys.argv[2])
os.chdir(sys.argv[3])


def run(command):
    subprocess.run(command, shell=True, check=True, capture_output=True)


def parameters(key_id, algorithm, spec):
    p = kms.get_parameters_for_import(KeyId=key_id, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)
    open("WrappingPublicKey.bin", "wb").write(p["PublicKey"])
    return p["ImportToken"]


def oaep(sha, source="PlaintextKeyMaterial.bin", target="EncryptedKeyMaterial.bin"):
    run(f"openssl pkeyutl -encrypt -in {source} -out {target} -inkey WrappingPublicKey.bin -keyform DER -pubin "
        f"-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{sha} -pkeyopt rsa_mgf1_md:{sha}")


def key_wrap(sha):
    run("openssl rand -out aes-key.bin 32")
    run("openssl enc -id-aes256-wrap-pad -K $(xxd -p < aes-key.bin | tr -d '\\n' || od -An -tx1 aes-key.bin | tr -d ' \\n') "
        "-iv A65959A6 -in PlaintextKeyMaterial.bin -out wrapped-material.bin")
    oaep(sha, "aes-key.bin", "wrapped-aes-key.bin")
    run("cat wrapped-aes-key.bin wrapped-material.bin > EncryptedKeyMaterial.bin")


def material():
    return open("EncryptedKeyMaterial.bin", "rb").read()


WRAPS = {
    "RSAES_OAEP_SHA_1": lambda: oaep("sha1"),
    "RSAES_OAEP_SHA_256": lambda: oaep("sha256"),
    "RSA_AES_KEY_WRAP_SHA_1": lambda: key_wrap("sha1"),
    "RSA_AES_KEY_WRAP_SHA_256": lambda: key_wrap("sha256"),
}

# Symmetric material, wrapped in all four ways.
run("openssl rand -out PlaintextKeyMaterial.bin 32")
for algorithm, wrap in WRAPS.items():
    key_id = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    token = parameters(key_id, algorithm, "RSA_3072")
    wrap()
    kms.import_key_material(KeyId=key_id, ImportToken=token, EncryptedKeyMaterial=material(),
                            ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=time.time() + 3600)
    md = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert md["KeyState"] == "Enabled" and md["Origin"] == "EXTERNAL" and md["ExpirationModel"] == "KEY_MATERIAL_EXPIRES", md
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    print(algorithm, "symmetric")

# The same material in two keys: neither opens the other's ciphertext.
second = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
token = parameters(second, "RSAES_OAEP_SHA_256", "RSA_2048")
oaep("sha256")
kms.import_key_material(KeyId=second, ImportToken=token, EncryptedKeyMaterial=material(), ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")
try:
    kms.decrypt(CiphertextBlob=blob, KeyId=second)
    raise AssertionError("opened under another key")
except ClientError as e:
    assert e.response["Error"]["Code"] == "IncorrectKeyException", e

# A token belongs to its key.
try:
    kms.import_key_material(KeyId=key_id, ImportToken=token, EncryptedKeyMaterial=material(), ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")
    raise AssertionError("another key's token was taken")
except ClientError as e:
    assert e.response["Error"]["Code"] == "InvalidImportTokenException", e

# An elliptic curve key and an RSA key, as PKCS #8.
for spec, make in {
    "ECC_NIST_P256": "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -outform DER -out PlaintextKeyMaterial.bin",
    "RSA_2048": "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform DER -out PlaintextKeyMaterial.bin",
}.items():
    run(make)
    run("openssl pkcs8 -topk8 -nocrypt -inform DER -outform DER -in PlaintextKeyMaterial.bin -out p8.bin && mv p8.bin PlaintextKeyMaterial.bin")
    key_id = kms.create_key(Origin="EXTERNAL", KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    token = parameters(key_id, "RSA_AES_KEY_WRAP_SHA_256", "RSA_2048")
    key_wrap("sha256")
    kms.import_key_material(KeyId=key_id, ImportToken=token, EncryptedKeyMaterial=material(), ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")
    algorithm = kms.describe_key(KeyId=key_id)["KeyMetadata"]["SigningAlgorithms"][0]
    signature = kms.sign(KeyId=key_id, Message=b"m", SigningAlgorithm=algorithm)["Signature"]
    open("signature.bin", "wb").write(signature)
    open("message.bin", "wb").write(b"m")
    run("openssl pkey -in PlaintextKeyMaterial.bin -inform DER -pubout -out public.pem")
    run("openssl dgst -sha256 -verify public.pem -signature signature.bin message.bin")
    print("RSA_AES_KEY_WRAP_SHA_256", spec)

# HMAC material.
run("openssl rand -out PlaintextKeyMaterial.bin 48")
key_id = kms.create_key(Origin="EXTERNAL", KeySpec="HMAC_384", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
token = parameters(key_id, "RSAES_OAEP_SHA_256", "RSA_2048")
oaep("sha256")
kms.import_key_material(KeyId=key_id, ImportToken=token, EncryptedKeyMaterial=material(), ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")
kms.generate_mac(KeyId=key_id, Message=b"m", MacAlgorithm="HMAC_SHA_384")
print("RSAES_OAEP_SHA_256 HMAC_384")
