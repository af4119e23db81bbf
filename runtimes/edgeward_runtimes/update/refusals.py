"""What python-tuf refused, in words that tell an operator which attack it would have been. Pure.

python-tuf's exceptions say which check failed. What it means depends on the file: a targets file of another version
than its snapshot says was mixed in from another time, a timestamp of a lower version is a rollback.
"""

import msgspec
from tuf.api import exceptions as tuf

from edgeward_runtimes.errors import (
    EndlessDownloadError,
    ExpiredMetadataError,
    MalformedMetadataError,
    MetadataRollbackError,
    MixedMetadataError,
    RegistryUnreachableError,
    RevokedKeyError,
    TamperedDownloadError,
    UnsignedError,
    UpdateError,
    WrongKeyError,
    one_line,
)

_MEANINGS: tuple[tuple[type[Exception], type[UpdateError], str], ...] = (
    (
        tuf.ExpiredMetadataError,
        ExpiredMetadataError,
        "{error}: the registry was not renewed, or somebody holds newer metadata back. Check this device's clock; "
        "renew with: edgeward registry refresh",
    ),
    (tuf.BadVersionNumberError, MetadataRollbackError, "{file} is older than what this device has seen: {error}."),
    (tuf.LengthOrHashMismatchError, MixedMetadataError, "{file} was not published with the others: {error}."),
    (tuf.DownloadLengthMismatchError, EndlessDownloadError, "A metadata file is longer than it may be: {error}."),
    (tuf.DownloadHTTPError, RegistryUnreachableError, "{error}. Is it the address of a registry?"),
    (tuf.DownloadError, RegistryUnreachableError, "{error}. Try again later."),
    (Exception, MalformedMetadataError, "{file} is damaged: {error}."),
)


class _Signature(msgspec.Struct, frozen=True):
    keyid: str


class _Typed(msgspec.Struct, frozen=True):
    type: str = msgspec.field(name="_type", default="metadata")


class _Document(msgspec.Struct, frozen=True):
    """As much of a metadata file as can be believed of an unverified one: what it calls itself."""

    signatures: tuple[_Signature, ...] = ()
    signed: _Typed = _Typed()


def explain(error: Exception, document: bytes, revoked: frozenset[str]) -> UpdateError:
    """The error of ours that says what a failed metadata check means.

    Args:
        error: What python-tuf raised.
        document: The metadata file that it had read last, unverified.
        revoked: Identifiers of the keys that were trusted once and are no more.
    """
    seen = _decode(document)
    file = f"The registry's {seen.signed.type} file"
    if isinstance(error, tuf.UnsignedMetadataError):
        return _unsigned(file, seen, revoked)
    if isinstance(error, tuf.BadVersionNumberError) and seen.signed.type in ("root", "targets"):
        error = tuf.LengthOrHashMismatchError(*error.args)  # not of the version that its name or its snapshot says
    kind, sentence = next((kind, sentence) for cause, kind, sentence in _MEANINGS if isinstance(error, cause))
    return kind(sentence.format(file=file, error=one_line(error)))


def explain_target(error: Exception, path: str) -> UpdateError:
    """The same for a bundle or a delta that was downloaded."""
    if isinstance(error, tuf.LengthOrHashMismatchError):
        return TamperedDownloadError(f"{path} is not the file that was signed: {one_line(error)}. It was removed.")
    return RegistryUnreachableError(f"{path} could not be fetched: {one_line(error)}. Try again later.")


def _decode(document: bytes) -> _Document:
    try:
        return msgspec.json.decode(document, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Document()


def _unsigned(file: str, seen: _Document, revoked: frozenset[str]) -> UpdateError:
    signers = {signature.keyid for signature in seen.signatures}
    if not signers:
        return UnsignedError(f"{file} carries no signature.")
    known = sorted(signers & revoked)
    if known:
        return RevokedKeyError(f"{file} is signed by key {known[0][:8]}, which was revoked.")
    return WrongKeyError(f"{file} is not signed by enough of the keys that this device trusts.")
