"""Signing keys as files: Ed25519 in PEM (PKCS#8), `ROLE-KEYID8.pem`, readable by their owner alone.

The keys of root and targets are encrypted with a passphrase and belong on a medium that is put away; those of
snapshot and timestamp have none, as the machine that renews these files must read them unattended.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from edgeward_runtimes.durable import make_folder, write_atomically
from edgeward_runtimes.errors import RegistryError

OFFLINE = ("root", "targets")
ONLINE = ("snapshot", "timestamp")
ROLES = OFFLINE + ONLINE
_LEAST_PASSPHRASE = 16  # PKCS#8 as OpenSSL writes it stretches a passphrase by 2,048 rounds of PBKDF2, and no more

# Gives the passphrase of the offline keys; asked only when one of them is needed.
Passphrase = Callable[[], str]


def create(folder: Path, role: str, passphrase: Passphrase | None) -> CryptoSigner:
    """Make a key for a role and keep it in `folder`; encrypted unless `passphrase` is None. Raises RegistryError."""
    private = Ed25519PrivateKey.generate()
    signer = CryptoSigner(private)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, _encryption(passphrase))
    make_folder(folder)
    folder.chmod(0o700)
    write_atomically(_file(folder, role, signer.public_key.keyid), pem, mode=0o600)
    return signer


def load(folders: Iterable[Path], role: str, root: Root, passphrase: Passphrase | None) -> list[CryptoSigner]:
    """The keys of a role, as `root` names them, that lie in these folders; possibly none. Raises RegistryError."""
    files = [
        path for folder in folders for keyid in root.roles[role].keyids if (path := _file(folder, role, keyid)).exists()
    ]
    return [_read(path, passphrase) for path in files]


def _file(folder: Path, role: str, keyid: str) -> Path:
    return folder / f"{role}-{keyid[:8]}.pem"


def _encryption(passphrase: Passphrase | None) -> KeySerializationEncryption:
    if passphrase is None:
        return NoEncryption()
    secret = passphrase()
    if len(secret) < _LEAST_PASSPHRASE:
        raise RegistryError(
            f"The passphrase has {len(secret)} characters; use {_LEAST_PASSPHRASE} or more, e.g. five random words."
        )
    return BestAvailableEncryption(secret.encode())


def _read(path: Path, passphrase: Passphrase | None) -> CryptoSigner:
    secret = passphrase().encode() if passphrase else None
    try:
        private = load_pem_private_key(path.read_bytes(), secret)
    except TypeError as error:
        raise RegistryError(f"{path} is {'not ' if secret else ''}encrypted, against what was expected.") from error
    except ValueError as error:
        raise RegistryError(f"{path} cannot be read: the passphrase is wrong, or the file is damaged.") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise RegistryError(f"{path} is not an Ed25519 key; edgeward registry makes no others.")
    return CryptoSigner(private)
