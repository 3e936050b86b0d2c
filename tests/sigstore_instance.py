"""An instance of Sigstore of a test's own: its authority, its two logs, and what they would say of a signature.

There are no servers: the keys are at hand, and what they sign is put together as Fulcio, its certificate log and
Rekor do.
"""

import base64
import hashlib
import json
import struct
import time
from datetime import UTC, datetime, timedelta

import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from google.protobuf import json_format
from model_signing import hashing
from model_signing._signing.signing import Payload

_SCTS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_TYPE = "application/vnd.in-toto+json"
_START = "2020-01-01T00:00:00Z"


def _base64(data):
    return base64.b64encode(data).decode()


def _public(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _id(key):
    return hashlib.sha256(_public(key)).digest()


def _signed(key, data):
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


class Instance:
    """Its keys, and the certificate of its authority."""

    def __init__(self):
        self.authority, self.certificate_log, self.rekor = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        self.now = datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.root = (
            self._builder(name, self.authority, days=365)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(certifies=True), critical=True)
            .sign(self.authority, hashes.SHA256())
        )

    def _builder(self, name, key, days):
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        return (
            x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(self.now - timedelta(hours=1))
            .not_valid_after(self.now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()), critical=False
            )
        )

    def trust_config(self):
        """The file that describes it."""

        def log(key, url):
            valid = {"rawBytes": _base64(_public(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
            valid["validFor"] = {"start": _START}
            logged = {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": valid}
            return {**logged, "logId": {"keyId": _base64(_id(key))}}

        def service(url):
            return {"url": url, "majorApiVersion": 1, "validFor": {"start": _START}, "operator": "test"}

        chain = [{"rawBytes": _base64(self.root.public_bytes(serialization.Encoding.DER))}]
        authority = {"subject": {"organization": "test", "commonName": "authority"}, "uri": "https://ca.example.com"}
        authority |= {"certChain": {"certificates": chain}, "validFor": {"start": _START}}
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
                "trustedRoot": {
                    "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                    "tlogs": [log(self.rekor, "https://rekor.example.com")],
                    "certificateAuthorities": [authority],
                    "ctlogs": [log(self.certificate_log, "https://ct.example.com")],
                    "timestampAuthorities": [],
                },
                "signingConfig": {
                    "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                    "caUrls": [service("https://ca.example.com")],
                    "oidcUrls": [service("https://oidc.example.com")],
                    "rekorTlogUrls": [service("https://rekor.example.com")],
                    "tsaUrls": [],
                    "rekorTlogConfig": {"selector": "ANY"},
                    "tsaConfig": {"selector": "ANY"},
                },
            }
        )

    def sign(self, package, identity, issuer):
        """The signature of ``package`` by ``identity``, whom ``issuer`` knows."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certify(key, identity, issuer)
        payload = json_format.MessageToJson(Payload(hashing.Config().hash(package)).statement.pb).encode()
        signature = _signed(key, f"DSSEv1 {len(_TYPE)} {_TYPE} {len(payload)} ".encode() + payload)
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "verificationMaterial": {
                    "certificate": {"rawBytes": _base64(certificate.public_bytes(serialization.Encoding.DER))},
                    "tlogEntries": [self._log(certificate, payload, signature)],
                    "timestampVerificationData": {},
                },
                "dsseEnvelope": {
                    "payload": _base64(payload),
                    "payloadType": _TYPE,
                    "signatures": [{"sig": _base64(signature)}],
                },
            }
        ).encode()

    def _certify(self, key, identity, issuer):
        """Fulcio's certificate, with the certificate log's signed timestamp over all else of it (RFC 6962)."""
        builder = (
            self._builder(x509.Name([]), key, days=1)
            .add_extension(_usage(certifies=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(identity)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, issuer.encode()), critical=False)
        )
        body = builder.sign(self.authority, hashes.SHA256()).tbs_certificate_bytes
        millis = int(time.time() * 1000)
        signed = struct.pack(">BBQH", 0, 0, millis, 1) + _id(self.authority)
        signed += len(body).to_bytes(3, "big") + body + b"\0\0"
        signature = _signed(self.certificate_log, signed)
        stamp = struct.pack(">B32sQHBBH", 0, _id(self.certificate_log), millis, 0, 4, 3, len(signature)) + signature
        stamps = struct.pack(">HH", len(stamp) + 2, len(stamp)) + stamp
        value = bytes([0x04, *([len(stamps)] if len(stamps) < 128 else [0x81, len(stamps)])]) + stamps
        return builder.add_extension(x509.UnrecognizedExtension(_SCTS, value), critical=False).sign(
            self.authority, hashes.SHA256()
        )

    def _log(self, certificate, payload, signature):
        """Rekor's entry, the only one of its tree, with its promise and its proof."""
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},  # which nobody can check
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [{"signature": _base64(signature), "verifier": _base64(pem)}],
        }
        body = rfc8785.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        at, root = int(time.time()), hashlib.sha256(b"\0" + body).digest()
        promised = {"body": _base64(body), "integratedTime": at, "logID": _id(self.rekor).hex(), "logIndex": 0}
        note = f"rekor.example.com - 1\n1\n{_base64(root)}\n"
        stamp = _base64(_id(self.rekor)[:4] + _signed(self.rekor, note.encode()))
        return {
            "logIndex": "0",
            "logId": {"keyId": _base64(_id(self.rekor))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(at),
            "inclusionPromise": {"signedEntryTimestamp": _base64(_signed(self.rekor, rfc8785.dumps(promised)))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": _base64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n\u2014 rekor.example.com {stamp}\n"},
            },
            "canonicalizedBody": _base64(body),
        }


def _usage(*, certifies):
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    others = dict.fromkeys((*names, "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not certifies, key_cert_sign=certifies, crl_sign=certifies, **others)
