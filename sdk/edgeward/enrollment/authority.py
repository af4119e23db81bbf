"""Keys, certificates and revocations: X.509 (RFC 5280) on the curve P-256, by the package cryptography.

A certificate says for which side it is good: a device's cannot pose as a broker, nor the broker's as a device. Valid
from five minutes ago on, because clocks differ.
"""

import datetime
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeward.enrollment.settings import address
from edgeward_runtimes.errors import ConfigError

CA_DAYS = 3650
_AHEAD = datetime.timedelta(minutes=5)
_CRL_BEFORE = datetime.timedelta(hours=1)
_NO_USAGE = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


class Authority(NamedTuple):
    """Who signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Issued(NamedTuple):
    """A new certificate with its key, both PEM."""

    certificate: bytes
    key: bytes


def make_authority(fleet: str, now: datetime.datetime) -> Authority:
    """An authority for one fleet."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"edgeward fleet {fleet}")
    builder = (
        _builder(name, name, key.public_key(), x509.random_serial_number(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def issue(
    authority: Authority, name: str, serial: int, now: datetime.datetime, days: float, hosts: Sequence[str] = ()
) -> Issued:
    """A certificate: a server's when it has hosts, else a client's. It never outlives its authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    ours = authority.certificate
    builder = (
        _builder(_name(name), ours.subject, key.public_key(), serial, now, days, ours.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), critical=False)
    return Issued(pem(builder.sign(authority.key, hashes.SHA256())), key_pem(key, None))


def revocations(
    authority: Authority,
    revoked: Iterable[tuple[int, datetime.datetime]],
    now: datetime.datetime,
    previous: datetime.datetime | None,
) -> tuple[bytes, datetime.datetime]:
    """The list of revoked serials (PEM) and its date.

    Mosquitto adds a list that it reads again to those it has, and OpenSSL goes by the latest: each must be later than
    `previous` by a second at least, and none may lie in the future of the broker's clock, so they are dated back an
    hour. A list that expires would lock out everybody, so it is good for as long as the authority.
    """
    at = (now - _CRL_BEFORE).replace(microsecond=0)
    if previous is not None:
        at = max(at, previous + datetime.timedelta(seconds=1))
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(at)
        .next_update(authority.certificate.not_valid_after_utc)
        .add_extension(x509.CRLNumber(int(at.timestamp())), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    for serial, when in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), at


def date_of(revocation_list: bytes) -> datetime.datetime:
    """When a list of revoked certificates (PEM) says it was made."""
    return x509.load_pem_x509_crl(revocation_list).last_update_utc


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey, password: bytes | None) -> bytes:
    """A private key as PEM, encrypted if there is a password."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def load(certificate: bytes, key: bytes, password: bytes | None) -> Authority:
    """An authority from PEM. Raises ConfigError when the password is wrong or missing, or the key is another's."""
    try:
        private = serialization.load_pem_private_key(key, password)
        public = x509.load_pem_x509_certificate(certificate)
    except TypeError:
        state = "not encrypted, but a password was given" if password else "encrypted: give its password"
        raise ConfigError(f"The authority's key is {state}.") from None
    except ValueError:
        raise ConfigError("The authority's key cannot be opened: a wrong password, or not a PEM file.") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != public.public_key():
        raise ConfigError("The authority's key and certificate do not belong together.")
    return Authority(public, private)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    serial: int,
    now: datetime.datetime,
    days: float,
    no_later_than: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    until = now + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(now - _AHEAD)
        .not_valid_after(until if no_later_than is None else min(until, no_later_than))
    )


def _usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{**_NO_USAGE, **dict.fromkeys(names, True)})


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _general(host: str) -> x509.GeneralName:
    found = address(host)
    return x509.DNSName(host) if found is None else x509.IPAddress(found)
