"""Another client of kms.py. It uses boto3 to create keys, use them, change their state and delete them, and checks
each answer.

Run as `kms_client.py PORT`. It prints the number of its calls.
"""

import json
import os
import sys
import urllib.request

import boto3
import botocore
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

PORT = int(sys.argv[1])
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
kms = boto3.client("kms", endpoint_url=f"http://127.0.0.1:{PORT}", region_name="eu-west-1",
                   aws_access_key_id="x", aws_secret_access_key="x")


def code(call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return None


def fake(operation):
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/", data=b"{}",
                                     headers={"X-Amz-Target": f"Fake.{operation}"})
    return json.loads(urllib.request.urlopen(request).read())[operation]


def rotated(key):
    kms.rotate_key_on_demand(KeyId=key)
    while "OnDemandRotationStartDate" in kms.get_key_rotation_status(KeyId=key):
        pass
    return kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]


def ml_kem():
    for spec, length in [("ML_KEM_768", 1088), ("ML_KEM_1024", 1568)]:
        key = kms.create_key(KeySpec=spec, KeyUsage="ENCAPSULATE_DECAPSULATE", Description="d",
                             Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]["Arn"]
        made = kms.encapsulate(KeyId=key, EncapsulationAlgorithm="ML_KEM")
        blob = made["SharedSecretCiphertextBlob"]
        assert len(blob) == length and len(made["SharedSecret"]) == 32
        right = {"KeyId": key, "EncapsulationAlgorithm": "ML_KEM", "SharedSecretCiphertextBlob": blob}
        assert kms.decapsulate(**right)["SharedSecret"] == made["SharedSecret"]
        # Implicit rejection: always the same answer, which is another secret.
        altered = right | {"SharedSecretCiphertextBlob": bytes([blob[0] ^ 1]) + blob[1:]}
        other = kms.decapsulate(**altered)["SharedSecret"]
        assert other != made["SharedSecret"] and other == kms.decapsulate(**altered)["SharedSecret"]
        short = right | {"SharedSecretCiphertextBlob": blob[1:]}
        assert code(kms.decapsulate, **short) == "InvalidCiphertextException"
        assert code(kms.decapsulate, **right, DryRun=True) == "DryRunOperationException"
        assert code(kms.generate_data_key, KeyId=key, KeySpec="AES_256") == "InvalidKeyUsageException"
        assert kms.get_public_key(KeyId=key)["EncapsulationAlgorithms"] == ["ML_KEM"]
    assert code(kms.create_key, KeySpec="ML_KEM_768") == "ValidationException"


def oaep():
    key = kms.create_key(KeySpec="RSA_3072", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    public = kms.get_public_key(KeyId=key)
    assert public["KeySpec"] == "RSA_3072" and len(public["PublicKey"]) == 422
    blob = serialization.load_der_public_key(public["PublicKey"]).encrypt(b"1" * 32, OAEP)
    right = {"KeyId": key, "CiphertextBlob": blob, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    assert kms.decrypt(**right)["Plaintext"] == b"1" * 32
    assert code(kms.decrypt, **right | {"CiphertextBlob": blob[::-1]}) == "InvalidCiphertextException"
    assert code(kms.decrypt, **right, EncryptionContext={"a": "b"}) == "ValidationException"
    assert code(kms.decrypt, KeyId=key, CiphertextBlob=blob) == "InvalidKeyUsageException"


def symmetric():
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/a", TargetKeyId=key)
    made = kms.generate_data_key(KeyId="alias/a", KeySpec="AES_256", EncryptionContext={"a": "b"})
    right = {"CiphertextBlob": made["CiphertextBlob"], "EncryptionContext": {"a": "b"}}
    assert kms.decrypt(**right)["Plaintext"] == made["Plaintext"]
    assert code(kms.decrypt, **right | {"EncryptionContext": {"a": "c"}}) == "InvalidCiphertextException"
    assert [row["KeyMaterialState"] for row in rotated(key)] == ["NON_CURRENT", "CURRENT"]
    assert kms.decrypt(**right)["KeyMaterialId"] == made["KeyMaterialId"]
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    again = kms.re_encrypt(CiphertextBlob=made["CiphertextBlob"], SourceEncryptionContext={"a": "b"},
                           DestinationKeyId=other, DestinationEncryptionContext={"a": "b"})
    assert again["SourceKeyMaterialId"] == made["KeyMaterialId"]
    assert code(kms.decrypt, **right, KeyId=other) == "IncorrectKeyException"
    kms.update_alias(AliasName="alias/a", TargetKeyId=other)
    assert kms.describe_key(KeyId="alias/a")["KeyMetadata"]["KeyId"] == other


def imported():
    key = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]

    def state():
        return kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]

    def put(material, **more):
        asked = kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256",
                                              WrappingKeySpec="RSA_3072")
        sealed = serialization.load_der_public_key(asked["PublicKey"]).encrypt(material, OAEP)
        more = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"} | more
        return kms.import_key_material(KeyId=key, ImportToken=asked["ImportToken"], EncryptedKeyMaterial=sealed,
                                       **more)["KeyMaterialId"]

    assert state() == "PendingImport"
    first, second = os.urandom(32), os.urandom(32)
    first_id = put(first)
    old = kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    assert code(put, material=second) == "IncorrectKeyMaterialException"
    second_id = put(second, ImportType="NEW_KEY_MATERIAL", KeyMaterialDescription="second")
    assert kms.generate_data_key(KeyId=key, KeySpec="AES_256")["KeyMaterialId"] == first_id
    rows = rotated(key)
    assert [row["KeyMaterialState"] for row in rows] == ["NON_CURRENT", "CURRENT"]
    assert rows[1]["KeyMaterialDescription"] == "second"
    assert kms.generate_data_key(KeyId=key, KeySpec="AES_256")["KeyMaterialId"] == second_id
    assert kms.decrypt(CiphertextBlob=old["CiphertextBlob"])["KeyMaterialId"] == first_id
    # If one of its materials is missing, the key refuses every use.
    kms.delete_imported_key_material(KeyId=key, KeyMaterialId=first_id)
    assert state() == "PendingImport"
    assert code(kms.decrypt, CiphertextBlob=old["CiphertextBlob"]) == "KMSInvalidStateException"
    put(first)
    assert kms.decrypt(CiphertextBlob=old["CiphertextBlob"])["Plaintext"] == old["Plaintext"]
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert state() == "PendingDeletion"
    kms.cancel_key_deletion(KeyId=key)
    assert state() == "Disabled"
    assert code(kms.decrypt, CiphertextBlob=old["CiphertextBlob"]) == "DisabledException"
    kms.enable_key(KeyId=key)
    assert state() == "Enabled"


for part in (ml_kem, oaep, symmetric, imported):
    part()
assert fake("Violations") == [], fake("Violations")
print(len(fake("Calls")))
