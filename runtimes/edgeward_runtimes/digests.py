"""SHA-256 of what a process has in hand, by whichever implementation costs the process least.

hashlib loads OpenSSL, which takes 3 ms and 3.7 MB of memory, and then hashes a megabyte in 0.6 ms where the processor
has instructions for it. Python's own code is there at once and takes 3 ms: better for what a small model has.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

_WORTH_OPENSSL_BYTES = 2 * 2**20
_OWN = "_sha2" if sys.version_info >= (3, 12) else "_sha256"


def sha256(size_bytes: int) -> "_Hash":
    """A new SHA-256, to be fed about so many bytes."""
    if size_bytes < _WORTH_OPENSSL_BYTES and "hashlib" not in sys.modules:
        try:
            own: _Hash = import_module(_OWN).sha256()
            return own
        except ImportError:  # a Python built without it
            pass
    import hashlib

    return hashlib.sha256()


def sha256_of(content: bytes) -> str:
    """The SHA-256 of bytes, in hexadecimal."""
    digest = sha256(len(content))
    digest.update(content)
    return digest.hexdigest()
