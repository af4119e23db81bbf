"""TLS towards the broker: which authorities to trust, and which certificate to show; every mistake named beforehand."""

import ssl
from pathlib import Path

from edgeward_runtimes.errors import ConfigError


def tls_context(ca: str | None = None, certificate: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """A context for a client: TLS 1.2 or later, the broker's name and certificate checked.

    Args:
        ca: A file of trusted authorities (PEM); None trusts the system's.
        certificate: The certificate to show (PEM), for brokers that ask for one.
        key: Its private key (PEM, not encrypted); None when it is in the certificate's file.

    Raises:
        ConfigError: When a file cannot be read, is no PEM, or key and certificate do not belong together.
    """
    for what, path in (("ca", ca), ("certificate", certificate), ("key", key)):
        _check_readable(what, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(cafile=ca)
        except ssl.SSLError:
            raise ConfigError(f"ca: {ca} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----).") from None
    if certificate is not None:
        _load_certificate(context, certificate, key)
    return context


def _check_readable(what: str, path: str | None) -> None:
    if path is None:
        return
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigError(f"{what}: {path} cannot be read: {error.strerror}.") from None


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    """An encrypted key is refused: OpenSSL would ask for its password on the terminal of a daemon."""

    def refuse() -> str:
        raise ConfigError(f"key: {key or certificate} is encrypted; the agent needs one without a password.")

    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            reason = "do not belong together"
        else:
            reason = "are not a certificate and its private key in PEM form"
        raise ConfigError(f"certificate and key: {certificate} and {key or certificate} {reason}.") from None
