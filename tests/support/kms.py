"""A small KMS for tests, with features that the other emulators do not have: ML-KEM and RSA keys that decrypt, DryRun,
rotation on demand and several key materials.

It keeps all keys in memory. It checks each request and each answer with botocore's own model of KMS. So mistakes of
this file are found: `Fake.Violations` lists them. It also answers GetCallerIdentity of STS, and five operations of its
own for tests:

    Fake.Calls       {}                                     all calls until now: operation, region, body; and the status of
                                                            the answer, and when the call came (Unix time)
    Fake.Violations  {}                                     what did not conform to the model
    Fake.Fail        {Operation, Code, Status, Times, Message}   the next calls of that operation fail with this error
    Fake.Limit       {PerSecond}                            more calls than this in one second are throttled
    Fake.Gather      {Count}                                no call is answered until this number of calls waits

If the documentation of KMS does not say what it answers, the answer here is a guess. docs/testing.md lists each guess.
"""

import base64
import datetime
import functools
import hashlib
import json
import os
import re
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.session
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import mlkem, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding

ACCOUNT = "123456789012"
MODEL = botocore.session.get_session().get_service_model("kms")
# Errors that every operation may return, whatever its model lists.
COMMON_ERRORS = {"AccessDeniedException", "ValidationException", "ThrottlingException", "UnrecognizedClientException"}
OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
ML_KEM = {"ML_KEM_768": (mlkem.MLKEM768PrivateKey, 1088), "ML_KEM_1024": (mlkem.MLKEM1024PrivateKey, 1568)}
RSA = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}
# A blob begins with these bytes, as in the real KMS.
BLOB = b"\x01\x02\x02\x00"
MAX_VALID_DAYS = 365
# A rotation on demand is complete after this many queries of its state.
LOOKS_UNTIL_ROTATED = 2


class Refused(Exception):
    def __init__(self, code, message="", status=400):
        super().__init__(code)
        self.code, self.message, self.status = code, message, status


def now():
    return datetime.datetime.now(datetime.timezone.utc).timestamp()


def violations_of(shape, value, path):
    """The places where `value`, as JSON, does not have the model's `shape`."""
    kind, meta = shape.type_name, shape.metadata
    wanted = {"structure": dict, "map": dict, "list": list, "boolean": bool, "integer": int, "timestamp": (int, float)}
    if not isinstance(value, wanted.get(kind, str)) or (kind == "integer" and isinstance(value, bool)):
        return [f"{path}: {type(value).__name__} is no {kind}"]
    found, size = [], None
    if kind == "structure":
        found += [f"{path}.{name} is missing" for name in shape.required_members if name not in value]
        for name, member in value.items():
            if name not in shape.members:
                found.append(f"{path}.{name} is not in the model")
            else:
                found += violations_of(shape.members[name], member, f"{path}.{name}")
    elif kind == "map":
        for name, member in value.items():
            found += violations_of(shape.key, name, path) + violations_of(shape.value, member, f"{path}[{name}]")
    elif kind == "list":
        size = len(value)
        for index, member in enumerate(value):
            found += violations_of(shape.member, member, f"{path}[{index}]")
    elif kind == "blob":
        try:
            size = len(base64.b64decode(value, validate=True))
        except ValueError:
            return [f"{path} is not base64"]
    elif kind == "string":
        size = len(value)
        if shape.enum and value not in shape.enum:
            found.append(f"{path}: {value} is not one of {shape.enum}")
        if "pattern" in meta and not re.search(meta["pattern"], value):
            found.append(f"{path} does not match {meta['pattern']}")
    elif kind == "integer":
        size = value
    if size is not None and not meta.get("min", size) <= size <= meta.get("max", size):
        found.append(f"{path}: {size} is not within {meta.get('min')} and {meta.get('max')}")
    return found


@functools.cache
def wrapping_key(spec):
    """One for all imports. On a busy machine, making another for each of them can take longer than a call may."""
    return rsa.generate_private_key(65537, RSA[spec])


class Material:
    def __init__(self, secret, key_id, state, description=None):
        self.secret, self.state, self.description = secret, state, description
        self.id = hashlib.sha256(key_id.encode() + secret).hexdigest()
        self.imported, self.valid_to, self.rotated_at, self.rotation = True, None, None, None


class Key:
    def __init__(self, region, spec, usage, origin, multi_region, description, policy, tags):
        self.id = ("mrk-" + uuid.uuid4().hex) if multi_region else str(uuid.uuid4())
        self.region, self.spec, self.usage, self.origin = region, spec, usage, origin
        self.multi_region, self.description, self.policy, self.tags = multi_region, description, policy, tags
        self.created, self.disabled, self.deletion, self.window = now(), False, None, None
        self.materials, self.private, self.tokens, self.looks = [], None, {}, 0
        if spec in ML_KEM:
            self.private = ML_KEM[spec][0].generate()
        elif spec in RSA:
            self.private = rsa.generate_private_key(65537, RSA[spec])
        elif origin == "AWS_KMS":
            self.materials.append(Material(os.urandom(32), self.id, "CURRENT"))

    @property
    def arn(self):
        return f"arn:aws:kms:{self.region}:{ACCOUNT}:key/{self.id}"

    def expire(self):
        for material in self.materials:
            if material.valid_to is not None and material.valid_to <= now():
                material.secret, material.imported, material.valid_to = b"", False, None

    @property
    def state(self):
        self.expire()
        if self.deletion is not None:
            return "PendingDeletion"
        in_use = [material for material in self.materials if material.state in ("CURRENT", "NON_CURRENT")]
        if self.origin == "EXTERNAL" and (not in_use or not all(material.imported for material in in_use)):
            return "PendingImport"
        return "Disabled" if self.disabled else "Enabled"

    def current(self):
        return next(material for material in self.materials if material.state == "CURRENT")

    def specs(self):
        """The older field does not support the newer kinds of key."""
        old = {} if self.spec in ML_KEM else {"CustomerMasterKeySpec": self.spec}
        return {"KeySpec": self.spec, **old}

    def algorithms(self):
        if self.usage == "ENCAPSULATE_DECAPSULATE":
            return {"EncapsulationAlgorithms": ["ML_KEM"]}
        if self.usage == "SIGN_VERIFY":
            return {"SigningAlgorithms": ["RSASSA_PSS_SHA_256"]}
        if self.spec in RSA:
            return {"EncryptionAlgorithms": ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]}
        return {"EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"]}

    def metadata(self):
        state = self.state
        data = {
            "AWSAccountId": ACCOUNT, "KeyId": self.id, "Arn": self.arn, "CreationDate": self.created,
            "Enabled": state == "Enabled", "Description": self.description, "KeyUsage": self.usage, "KeyState": state,
            "Origin": self.origin, "KeyManager": "CUSTOMER", "MultiRegion": self.multi_region, **self.specs(),
            **self.algorithms(),
        }
        if self.multi_region:
            primary = {"Arn": self.arn, "Region": self.region}
            data["MultiRegionConfiguration"] = {
                "MultiRegionKeyType": "PRIMARY", "PrimaryKey": primary, "ReplicaKeys": []}
        if self.deletion is not None:
            data["DeletionDate"] = self.deletion
        current = [material for material in self.materials if material.state == "CURRENT"]
        if current and self.spec == "SYMMETRIC_DEFAULT":
            data["CurrentKeyMaterialId"] = current[0].id
            if self.origin == "EXTERNAL" and current[0].imported:
                expires = current[0].valid_to is not None
                data["ExpirationModel"] = "KEY_MATERIAL_EXPIRES" if expires else "KEY_MATERIAL_DOES_NOT_EXPIRE"
                if expires:
                    data["ValidTo"] = current[0].valid_to
        return data


class Kms:
    def __init__(self):
        self.keys, self.aliases, self.lock = {}, {}, threading.RLock()
        self.calls, self.violations, self.failures = [], [], []
        self.per_second, self.recent, self.gathering = None, [], None

    # Finding keys

    def find(self, region, name):
        if name.startswith("arn:"):
            parts = name.split(":", 5)
            if len(parts) != 6 or parts[2] != "kms" or parts[3] != region:
                raise Refused("NotFoundException", f"Invalid arn {region}")
            if parts[4] != ACCOUNT:
                raise Refused("AccessDeniedException", "The key is of another account")
            name = parts[5].removeprefix("key/")
        if name.startswith("alias/"):
            if (region, name) not in self.aliases:
                arn = f"arn:aws:kms:{region}:{ACCOUNT}:{name}"
                raise Refused("NotFoundException", f"Alias {arn} is not found.")
            name = self.aliases[region, name]
        if (region, name) not in self.keys:
            raise Refused("NotFoundException", f"Key 'arn:aws:kms:{region}:{ACCOUNT}:key/{name}' does not exist")
        return self.keys[region, name]

    def usable(self, region, name, usage):
        key = self.find(region, name)
        if key.state == "Disabled":
            raise Refused("DisabledException", f"{key.arn} is disabled.")
        if key.state != "Enabled":
            raise Refused("KMSInvalidStateException", f"{key.arn} is {self.words(key.state)}.")
        if key.usage != usage:
            raise Refused("InvalidKeyUsageException", f"{key.arn} key usage is {key.usage} which is not valid here.")
        return key

    def importable(self, region, name):
        key = self.find(region, name)
        if key.origin != "EXTERNAL":
            raise Refused("UnsupportedOperationException", f"{key.arn} origin is {key.origin} which is not valid here.")
        if key.state == "PendingDeletion":
            raise Refused("KMSInvalidStateException", f"{key.arn} is pending deletion.")
        return key

    @staticmethod
    def words(state):
        return {"PendingDeletion": "pending deletion", "PendingImport": "pending import"}.get(state, state)

    @staticmethod
    def dry(body):
        if body.get("DryRun"):
            message = "The request would have succeeded, but the DryRun option is set."
            raise Refused("DryRunOperationException", message, 412)

    # Blobs of symmetric keys: prefix, key id, material id, nonce, AES-256-GCM with the encryption context as its AAD

    @staticmethod
    def aad(context):
        return json.dumps(context or {}, sort_keys=True).encode()

    def seal(self, key, plaintext, context):
        material, nonce = key.current(), os.urandom(12)
        name = f"{key.id}/{material.id}".encode()
        sealed = AESGCM(material.secret).encrypt(nonce, plaintext, self.aad(context))
        return BLOB + bytes([len(name)]) + name + nonce + sealed, material.id

    def open(self, region, blob, context, wanted):
        """Key, plaintext and material id of a blob."""
        try:
            if blob[: len(BLOB)] != BLOB:
                raise ValueError
            start = len(BLOB) + 1
            end = start + blob[len(BLOB)]
            key_id, _, material_id = blob[start:end].decode().partition("/")
            key = self.keys[region, key_id]
        except (ValueError, KeyError, IndexError):
            raise Refused("InvalidCiphertextException")
        if wanted is not None and self.find(region, wanted) is not key:
            raise Refused("IncorrectKeyException", "The key ID in the request does not identify a CMK of this blob.")
        key = self.usable(region, key.id, "ENCRYPT_DECRYPT")
        for material in key.materials:
            if material.id == material_id:
                try:
                    nonce, sealed = blob[end : end + 12], blob[end + 12 :]
                    return key, AESGCM(material.secret).decrypt(nonce, sealed, self.aad(context)), material.id
                except (InvalidTag, ValueError):
                    break
        raise Refused("InvalidCiphertextException")

    # Operations

    def create_key(self, region, body):
        spec = body.get("KeySpec", body.get("CustomerMasterKeySpec", "SYMMETRIC_DEFAULT"))
        usage, origin = body.get("KeyUsage"), body.get("Origin", "AWS_KMS")
        allowed = {"SYMMETRIC_DEFAULT": ["ENCRYPT_DECRYPT"]}
        allowed |= {name: ["ENCAPSULATE_DECAPSULATE"] for name in ML_KEM}
        allowed |= {name: ["ENCRYPT_DECRYPT", "SIGN_VERIFY"] for name in RSA}
        if spec not in allowed:
            raise Refused("UnsupportedOperationException", f"KeySpec {spec} is not supported here")
        if usage is None and spec != "SYMMETRIC_DEFAULT":
            raise Refused("ValidationException", f"You must specify a KeyUsage value for KeySpec {spec}.")
        usage = usage or "ENCRYPT_DECRYPT"
        if usage not in allowed[spec]:
            raise Refused("ValidationException", f"KeyUsage {usage} is not compatible with KeySpec {spec}")
        if origin not in ("AWS_KMS", "EXTERNAL"):
            raise Refused("UnsupportedOperationException", f"Origin {origin} is not supported here")
        if body.get("Policy") is not None:
            try:
                json.loads(body["Policy"])
            except ValueError:
                raise Refused("MalformedPolicyDocumentException", "The new key policy is not valid.")
        key = Key(region, spec, usage, origin, bool(body.get("MultiRegion")), body.get("Description", ""),
                  body.get("Policy"), body.get("Tags", []))
        self.keys[region, key.id] = key
        return {"KeyMetadata": key.metadata()}

    def describe_key(self, region, body):
        return {"KeyMetadata": self.find(region, body["KeyId"]).metadata()}

    def get_public_key(self, region, body):
        key = self.find(region, body["KeyId"])
        if key.private is None:
            raise Refused("UnsupportedOperationException", f"{key.arn} is not an asymmetric key.")
        key = self.usable(region, body["KeyId"], key.usage)
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        public = key.private.public_key().public_bytes(serialization.Encoding.DER, form)
        return {"KeyId": key.arn, "PublicKey": public, "KeyUsage": key.usage, **key.specs(), **key.algorithms()}

    def encapsulate(self, region, body):
        key = self.usable(region, body["KeyId"], "ENCAPSULATE_DECAPSULATE")
        self.dry(body)
        secret, blob = key.private.public_key().encapsulate()
        return {"KeyId": key.arn, "SharedSecret": secret, "SharedSecretCiphertextBlob": blob,
                "EncapsulationAlgorithm": "ML_KEM"}

    def decapsulate(self, region, body):
        key = self.usable(region, body["KeyId"], "ENCAPSULATE_DECAPSULATE")
        if len(body["SharedSecretCiphertextBlob"]) != ML_KEM[key.spec][1]:
            raise Refused("InvalidCiphertextException")
        self.dry(body)
        # ML-KEM never reports a wrong ciphertext. It returns another secret instead (implicit rejection).
        secret = key.private.decapsulate(body["SharedSecretCiphertextBlob"])
        return {"KeyId": key.arn, "SharedSecret": secret, "EncapsulationAlgorithm": "ML_KEM"}

    def generate_data_key(self, region, body):
        key = self.usable(region, body["KeyId"], "ENCRYPT_DECRYPT")
        if key.private is not None:
            raise Refused("InvalidKeyUsageException", f"{key.arn} is an asymmetric key.")
        length = {"AES_256": 32, "AES_128": 16}.get(body.get("KeySpec")) or body.get("NumberOfBytes")
        if not length:
            raise Refused("ValidationException", "Please specify either number of bytes or key spec.")
        self.dry(body)
        plaintext = os.urandom(length)
        blob, material = self.seal(key, plaintext, body.get("EncryptionContext"))
        return {"KeyId": key.arn, "CiphertextBlob": blob, "Plaintext": plaintext, "KeyMaterialId": material}

    def encrypt(self, region, body):
        key = self.usable(region, body["KeyId"], "ENCRYPT_DECRYPT")
        algorithm = body.get("EncryptionAlgorithm", "SYMMETRIC_DEFAULT")
        if algorithm not in key.algorithms()["EncryptionAlgorithms"]:
            raise Refused("InvalidKeyUsageException", f"{algorithm} is not an algorithm of {key.arn}")
        if key.private is not None:
            if body.get("EncryptionContext"):
                raise Refused("ValidationException", "An asymmetric key takes no encryption context.")
            self.dry(body)
            blob = key.private.public_key().encrypt(body["Plaintext"], self.oaep(algorithm))
        else:
            self.dry(body)
            blob, _ = self.seal(key, body["Plaintext"], body.get("EncryptionContext"))
        return {"KeyId": key.arn, "CiphertextBlob": blob, "EncryptionAlgorithm": algorithm}

    @staticmethod
    def oaep(algorithm):
        if algorithm == "RSAES_OAEP_SHA_256":
            return OAEP
        return padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)

    def decrypt(self, region, body):
        algorithm = body.get("EncryptionAlgorithm", "SYMMETRIC_DEFAULT")
        if algorithm != "SYMMETRIC_DEFAULT":
            if "KeyId" not in body:
                raise Refused("ValidationException", "KeyId is required for an asymmetric key.")
            key = self.usable(region, body["KeyId"], "ENCRYPT_DECRYPT")
            if algorithm not in key.algorithms()["EncryptionAlgorithms"]:
                raise Refused("InvalidKeyUsageException", f"{algorithm} is not an algorithm of {key.arn}")
            if body.get("EncryptionContext"):
                raise Refused("ValidationException", "An asymmetric key takes no encryption context.")
            try:
                plaintext = key.private.decrypt(body["CiphertextBlob"], self.oaep(algorithm))
            except ValueError:
                raise Refused("InvalidCiphertextException")
            self.dry(body)
            return {"KeyId": key.arn, "Plaintext": plaintext, "EncryptionAlgorithm": algorithm}
        if "KeyId" in body:
            named = self.find(region, body["KeyId"])
            if named.private is not None:
                raise Refused("InvalidKeyUsageException", f"{algorithm} is not an algorithm of {named.arn}")
        context = body.get("EncryptionContext")
        key, plaintext, material = self.open(region, body["CiphertextBlob"], context, body.get("KeyId"))
        self.dry(body)
        return {"KeyId": key.arn, "Plaintext": plaintext, "EncryptionAlgorithm": algorithm, "KeyMaterialId": material}

    def re_encrypt(self, region, body):
        key, plaintext, old = self.open(
            region, body["CiphertextBlob"], body.get("SourceEncryptionContext"), body.get("SourceKeyId"))
        to = self.usable(region, body["DestinationKeyId"], "ENCRYPT_DECRYPT")
        if to.private is not None:
            raise Refused("InvalidKeyUsageException", f"SYMMETRIC_DEFAULT is not an algorithm of {to.arn}")
        self.dry(body)
        blob, new = self.seal(to, plaintext, body.get("DestinationEncryptionContext"))
        return {"CiphertextBlob": blob, "SourceKeyId": key.arn, "KeyId": to.arn, "SourceKeyMaterialId": old,
                "DestinationKeyMaterialId": new, "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT"}

    # The life of a key

    def enable_key(self, region, body):
        self.switch(region, body, False)

    def disable_key(self, region, body):
        self.switch(region, body, True)

    def switch(self, region, body, disabled):
        key = self.find(region, body["KeyId"])
        if key.state not in ("Enabled", "Disabled"):
            raise Refused("KMSInvalidStateException", f"{key.arn} is {self.words(key.state)}.")
        key.disabled = disabled

    def schedule_key_deletion(self, region, body):
        key, days = self.find(region, body["KeyId"]), body.get("PendingWindowInDays", 30)
        if not 7 <= days <= 30:
            raise Refused("ValidationException", "PendingWindowInDays must be between 7 and 30.")
        if key.deletion is not None:
            raise Refused("KMSInvalidStateException", f"{key.arn} is pending deletion.")
        key.deletion = now() + days * 86400
        return {"KeyId": key.arn, "DeletionDate": key.deletion, "KeyState": key.state, "PendingWindowInDays": days}

    def cancel_key_deletion(self, region, body):
        key = self.find(region, body["KeyId"])
        if key.deletion is None:
            raise Refused("KMSInvalidStateException", f"{key.arn} is not pending deletion.")
        key.deletion, key.disabled = None, True
        return {"KeyId": key.arn}

    def create_alias(self, region, body):
        if (region, body["AliasName"]) in self.aliases:
            raise Refused("AlreadyExistsException", f"An alias with the name {body['AliasName']} already exists")
        self.aliases[region, body["AliasName"]] = self.find(region, body["TargetKeyId"]).id

    def update_alias(self, region, body):
        if (region, body["AliasName"]) not in self.aliases:
            raise Refused("NotFoundException", f"Alias {body['AliasName']} is not found.")
        old, new = self.find(region, body["AliasName"]), self.find(region, body["TargetKeyId"])
        if (old.spec in ML_KEM or old.spec in RSA) != (new.spec in ML_KEM or new.spec in RSA) or old.usage != new.usage:
            raise Refused("ValidationException", "The keys of an alias must be of one type and usage.")
        self.aliases[region, body["AliasName"]] = new.id

    def delete_alias(self, region, body):
        if self.aliases.pop((region, body["AliasName"]), None) is None:
            raise Refused("NotFoundException", f"Alias {body['AliasName']} is not found.")

    def list_aliases(self, region, body):
        wanted = self.find(region, body["KeyId"]).id if "KeyId" in body else None
        found = [
            {"AliasName": name, "AliasArn": f"arn:aws:kms:{where}:{ACCOUNT}:{name}", "TargetKeyId": key}
            for (where, name), key in self.aliases.items() if where == region and wanted in (None, key)
        ]
        return {"Aliases": found, "Truncated": False}

    def list_resource_tags(self, region, body):
        return {"Tags": self.find(region, body["KeyId"]).tags, "Truncated": False}

    def get_key_policy(self, region, body):
        return {"Policy": self.find(region, body["KeyId"]).policy or "{}", "PolicyName": "default"}

    # Key material

    def get_parameters_for_import(self, region, body):
        key = self.importable(region, body["KeyId"])
        if body["WrappingKeySpec"] not in RSA:
            raise Refused("UnsupportedOperationException", "the wrapping key's spec")
        private, token = wrapping_key(body["WrappingKeySpec"]), os.urandom(64)
        key.tokens[token] = (private, body["WrappingAlgorithm"])
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        public = private.public_key().public_bytes(serialization.Encoding.DER, form)
        return {"KeyId": key.arn, "ImportToken": token, "PublicKey": public, "ParametersValidTo": now() + 86400}

    def unwrap(self, key, body):
        if body["ImportToken"] not in key.tokens:
            raise Refused("InvalidImportTokenException")
        private, algorithm = key.tokens[body["ImportToken"]]
        sealed = body["EncryptedKeyMaterial"]
        try:
            if algorithm.startswith("RSAES_OAEP_"):
                return private.decrypt(sealed, self.oaep(algorithm))
            size = private.key_size // 8
            oaep = self.oaep(algorithm.replace("RSA_AES_KEY_WRAP", "RSAES_OAEP"))
            return aes_key_unwrap_with_padding(private.decrypt(sealed[:size], oaep), sealed[size:])
        except Exception:
            raise Refused("InvalidCiphertextException")

    def import_key_material(self, region, body):
        key = self.importable(region, body["KeyId"])
        valid_to = body.get("ValidTo")
        if (body.get("ExpirationModel", "KEY_MATERIAL_EXPIRES") == "KEY_MATERIAL_EXPIRES") != (valid_to is not None):
            raise Refused("ValidationException", "ValidTo goes with KEY_MATERIAL_EXPIRES.")
        if valid_to is not None and not now() < valid_to <= now() + MAX_VALID_DAYS * 86400:
            raise Refused("ValidationException", "ValidTo must be within 365 days.")
        secret = self.unwrap(key, body)
        if len(secret) != 32:
            raise Refused("IncorrectKeyMaterialException", "The key material is of the wrong length.")
        known = {material.id: material for material in key.materials}
        made = Material(secret, key.id, "PENDING_ROTATION", body.get("KeyMaterialDescription"))
        if body.get("KeyMaterialId") not in (None, made.id):
            raise Refused("IncorrectKeyMaterialException", "It is not the material of that id.")
        if body.get("ImportType", "EXISTING_KEY_MATERIAL") == "NEW_KEY_MATERIAL":
            if made.id in known or any(material.state == "PENDING_ROTATION" for material in key.materials):
                raise Refused("KMSInvalidStateException", "The key has this material, or a new one that waits.")
            if not key.materials:
                made.state = "CURRENT"
            key.materials.append(made)
        elif not key.materials:
            made.state = "CURRENT"
            key.materials.append(made)
        elif made.id in known:
            made = known[made.id]
            made.secret, made.imported = secret, True
            made.description = body.get("KeyMaterialDescription", made.description)
        else:
            raise Refused("IncorrectKeyMaterialException", "It is none of the materials that this key has had.")
        made.valid_to = valid_to
        return {"KeyId": key.arn, "KeyMaterialId": made.id}

    def delete_imported_key_material(self, region, body):
        key = self.importable(region, body["KeyId"])
        wanted = body.get("KeyMaterialId") or (key.current().id if key.materials else None)
        for material in key.materials:
            if material.id == wanted:
                if material.state == "PENDING_ROTATION":
                    key.materials.remove(material)
                else:
                    material.secret, material.imported, material.valid_to = b"", False, None
                return {"KeyId": key.arn, "KeyMaterialId": material.id}
        raise Refused("NotFoundException", "The key has no such material.")

    def rotate_key_on_demand(self, region, body):
        if self.find(region, body["KeyId"]).private is not None:
            raise Refused("UnsupportedOperationException", "The key is an asymmetric key.")
        key = self.usable(region, body["KeyId"], "ENCRYPT_DECRYPT")
        if key.looks:
            raise Refused("ConflictException", "A rotation is under way.")
        if sum(material.rotation is not None for material in key.materials) >= 25:
            raise Refused("LimitExceededException", "A key has at most 25 rotations on demand.")
        if key.origin == "EXTERNAL":
            waiting = [material for material in key.materials if material.state == "PENDING_ROTATION"]
            if not waiting:
                raise Refused("KMSInvalidStateException", f"{key.arn} has no key material pending rotation.")
        else:
            key.materials.append(Material(os.urandom(32), key.id, "PENDING_ROTATION"))
        key.looks = LOOKS_UNTIL_ROTATED
        return {"KeyId": key.arn}

    def look(self, key):
        if key.looks:
            key.looks -= 1
            if not key.looks:
                new = next(material for material in key.materials if material.state == "PENDING_ROTATION")
                key.current().state = "NON_CURRENT"
                new.state, new.rotated_at, new.rotation = "CURRENT", now(), "ON_DEMAND"

    def get_key_rotation_status(self, region, body):
        key = self.find(region, body["KeyId"])
        if key.private is not None:
            raise Refused("UnsupportedOperationException", f"{key.arn} is an asymmetric key.")
        self.look(key)
        answer = {"KeyRotationEnabled": False, "KeyId": key.arn}
        return answer | ({"OnDemandRotationStartDate": now()} if key.looks else {})

    def list_key_rotations(self, region, body):
        key = self.find(region, body["KeyId"])
        if key.private is not None:
            raise Refused("UnsupportedOperationException", f"{key.arn} is an asymmetric key.")
        key.expire()
        every = body.get("IncludeKeyMaterial") == "ALL_KEY_MATERIAL"
        rows = []
        for material in key.materials:
            if not every and material.rotation is None:
                continue
            row = {"KeyId": key.arn, "KeyMaterialId": material.id, "KeyMaterialState": material.state}
            if key.origin == "EXTERNAL":
                row["ImportState"] = "IMPORTED" if material.imported else "PENDING_IMPORT"
                if material.imported:
                    expires = material.valid_to is not None
                    row["ExpirationModel"] = "KEY_MATERIAL_EXPIRES" if expires else "KEY_MATERIAL_DOES_NOT_EXPIRE"
            optional = {"KeyMaterialDescription": material.description, "ValidTo": material.valid_to,
                        "RotationDate": material.rotated_at, "RotationType": material.rotation}
            rows.append(row | {name: value for name, value in optional.items() if value is not None})
        start, limit = int(body.get("Marker", "0")), body.get("Limit", 100)
        answer = {"Rotations": rows[start : start + limit], "Truncated": start + limit < len(rows)}
        return answer | ({"NextMarker": str(start + limit)} if answer["Truncated"] else {})

    # Requests

    def fake(self, operation, body):
        if operation == "Calls":
            return {"Calls": self.calls}
        if operation == "Violations":
            return {"Violations": self.violations}
        if operation == "Limit":
            self.per_second = body["PerSecond"]
            return {}
        if operation == "Gather":
            self.gathering = threading.Barrier(body["Count"], timeout=60)
            return {}
        self.failures.append(dict(body))
        return {}

    def throttle(self):
        if self.per_second is None:
            return
        at = time.monotonic()
        self.recent = [before for before in self.recent if at - before < 1]
        if len(self.recent) >= self.per_second:
            raise Refused("ThrottlingException", "Rate exceeded")
        self.recent.append(at)

    def scripted(self, operation):
        for failure in self.failures:
            if failure["Operation"] == operation and failure.get("Times", 1) > 0:
                failure["Times"] = failure.get("Times", 1) - 1
                raise Refused(failure["Code"], failure.get("Message", ""), failure.get("Status", 400))

    def answer(self, operation, region, body):
        """Status and JSON of an answer."""
        if operation not in MODEL.operation_names:
            return 400, {"__type": "UnknownOperationException"}
        model, method = MODEL.operation_model(operation), getattr(self, snake(operation), None)
        if method is None:
            return 501, {"__type": "NotImplemented", "message": operation}
        found = violations_of(model.input_shape, body, operation)
        if found:
            self.violations += found
            return 400, {"__type": "ValidationException", "message": "; ".join(found)}
        try:
            self.throttle()
            self.scripted(operation)
            answer = encoded(method(region, decoded(model.input_shape, body)) or {})
        except Refused as refused:
            modelled = {error.name for error in model.error_shapes} | COMMON_ERRORS
            if refused.code not in modelled and not self.failures:
                self.violations.append(f"{operation} does not give {refused.code}")
            text = {"message": refused.message} if refused.message else {}
            return refused.status, {"__type": refused.code, **text}
        if model.output_shape is not None:
            self.violations += violations_of(model.output_shape, answer, operation + "'s answer")
        elif answer:
            self.violations.append(f"{operation} has no answer")
        return 200, answer


def snake(name):
    return re.sub("(?<!^)(?=[A-Z])", "_", name).lower()


def decoded(shape, value):
    """Blobs as bytes, except a document, which is text."""
    if shape.type_name == "blob":
        return base64.b64decode(value)
    if shape.type_name == "structure":
        return {name: decoded(shape.members[name], member) for name, member in value.items()}
    return value


def encoded(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: encoded(member) for name, member in value.items()}
    return [encoded(member) for member in value] if isinstance(value, list) else value


IDENTITY = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>\
<Arn>arn:aws:iam::{0}:user/test</Arn><UserId>AIDATEST</UserId><Account>{0}</Account></GetCallerIdentityResult>\
<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kms = Kms()

    def log_message(self, *_):
        pass

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        target = self.headers.get("X-Amz-Target")
        if target is None:
            return self.send(200, "text/xml", IDENTITY.format(ACCOUNT).encode())
        service, _, operation = target.partition(".")
        scope = re.search(r"Credential=[^/]*/[0-9]*/([a-z0-9-]+)/", self.headers.get("Authorization", ""))
        region = scope.group(1) if scope else "us-east-1"
        body = json.loads(text or b"{}")
        if service != "Fake" and self.kms.gathering is not None:
            try:
                self.kms.gathering.wait()
            except threading.BrokenBarrierError:
                return self.send(400, "application/x-amz-json-1.1", b'{"__type": "NobodyElseCame"}')
        with self.kms.lock:
            if service == "Fake":
                status, answer = 200, self.kms.fake(operation, body)
            else:
                call = {"Operation": operation, "Region": region, "Body": body, "At": time.time()}
                self.kms.calls.append(call)
                status, answer = self.kms.answer(operation, region, body)
                call["Status"] = status
        self.send(status, "application/x-amz-json-1.1", json.dumps(answer).encode())

    def send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    # Many programs connect at the same time.
    request_queue_size = 512


def serve():
    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve()
