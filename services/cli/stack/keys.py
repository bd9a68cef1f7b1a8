"""Private keys as files: Ed25519, PEM, readable by their owner only, and whole or not there."""

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["write_private_key"]


def write_private_key(path: Path) -> None:
    """Make a new key at a place where none is yet.

    Raises:
        OSError: it cannot be written there.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    try:
        os.link(partial, path)  # never replaces a key that is in use
    except FileExistsError:
        pass
    finally:
        partial.unlink()
