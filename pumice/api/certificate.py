"""The certificate of a server that has none: self-signed, for the names it is called by. Knows no socket."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from filelock import FileLock

from pumice.errors import InputError
from pumice.store.files import write_atomic

LIFE = timedelta(days=397)
"""As long as clients allow."""
RENEW = timedelta(days=30)
"""One that ends sooner is made anew when the server starts."""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, each a PEM file."""

    path: Path
    key: Path

    def check(self) -> None:
        """Raise `InputError` unless both files can be read and belong together."""
        for path in (self.path, self.key):
            if not path.is_file():
                raise InputError(f"There is no file {path}.", fix="Name a certificate and its key, both in PEM.")
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.path, self.key)
        except (ssl.SSLError, OSError) as error:
            raise InputError(
                f"{self.path} and {self.key} are no certificate with its key: {error}.",
                "The key must be the one that the certificate was made for, in PEM and without a password.",
                "`pumice serve --tls` makes a certificate of its own.",
            ) from error


def choose(folder: Path, host: str, own: bool, path: Path | None, key: Path | None) -> Certificate | None:
    """The certificate that a command line asks for: one of its own, the user's, or none.

    Raises `InputError` when only half of the user's is named.
    """
    if path and key:
        return Certificate(path, key)
    if path or key:
        raise InputError("Of --tls-cert and --tls-key only one is given.", fix="Give both, or --tls alone.")
    return self_signed(folder, host) if own else None


def self_signed(folder: Path, host: str) -> Certificate:
    """The certificate in `folder` for this machine and `host`, made when there is none that fits.

    It stays the same from start to start, so that clients need to be told of it once.
    """
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    names = _names(host)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "tls.lock"):
        if not _fits(made, names):
            _make(made, names)
    return made


def _names(host: str) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in ("localhost", "127.0.0.1", "::1", socket.gethostname(), host):
        try:
            each: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            each = x509.DNSName(name)
        if name and each not in found:
            found.append(each)
    return found


def _fits(made: Certificate, names: list[x509.GeneralName]) -> bool:
    if not (made.path.is_file() and made.key.is_file()):
        return False
    certificate = x509.load_pem_x509_certificate(made.path.read_bytes())
    known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names) <= set(known) and certificate.not_valid_after_utc > datetime.now(UTC) + RENEW


def _make(target: Certificate, names: list[x509.GeneralName]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pumice")])
    now, public = datetime.now(UTC), key.public_key()
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,  # it is its own authority, and strict clients look for that
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_atomic(target.key, pem, private=True)
    write_atomic(target.path, certificate.public_bytes(serialization.Encoding.PEM))
