"""Keys and certificates that are made for a test."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_key(folder, name, curve=None, password=None):
    """A key pair in ``<name>.pem`` and ``<name>.pub``."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    write_pair(folder, name, key, password)
    return key


def write_pair(folder, name, key, password=None):
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / f"{name}.pem").write_bytes(key.private_bytes(pem, pkcs8, encryption))
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)


def certify(folder, name, key, issuer=None, *, for_signing=True):
    """The certificate of ``key`` in ``<name>.crt``, by ``issuer``, a certificate and its key, or by itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    authority = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if authority else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(_usage(authority, for_signing), critical=True)
    )
    certificate = builder.sign(key if authority else issuer[1], hashes.SHA256())
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate


def _usage(authority, for_signing):
    return x509.KeyUsage(
        digital_signature=not authority and for_signing,
        key_cert_sign=authority,
        key_agreement=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
