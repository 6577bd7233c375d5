"""The key that seals results: kept by the host that judges, outside of the results that it seals.

Whoever can write to the results can make a chain of hashes anew, but not without the key.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from harness.errors import PrerequisiteError

_SECRET_BYTES = 32


@dataclass(frozen=True)
class Key:
    """A secret, and the public name by which a seal says which one made it."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits that tell nothing of the secret."""
        return hashlib.sha256(b"flareharness key" + self.secret).hexdigest()[:16]

    def sign(self, content: bytes) -> str:
        """Return the HMAC-SHA-256 of some bytes."""
        return hmac.digest(self.secret, content, "sha256").hex()

    def signed(self, content: bytes, signature: str) -> bool:
        """Whether this key made the signature."""
        return hmac.compare_digest(self.sign(content), signature)


def key_file() -> Path:
    """Return where the key lies: FLAREHARNESS_KEY, or the user's configuration folder."""
    if chosen := os.environ.get("FLAREHARNESS_KEY"):
        return Path(chosen)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "flareharness" / "key"


def signing_key() -> Key:
    """Return this host's key, made at first use and readable by its owner alone.

    Raises:
        PrerequisiteError: it cannot be stored, or what is stored is no key.
    """
    return _key_at(key_file())


def known_key() -> Key | None:
    """Return this host's key if it has one; nothing is made."""
    return _key_at(key_file()) if key_file().is_file() else None


@cache
def _key_at(path: Path) -> Key:
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _store(path)
        content = path.read_text(encoding="ascii").strip()
        return Key(bytes.fromhex(content))
    except (OSError, RuntimeError) as error:
        raise PrerequisiteError(
            f"the key that seals results cannot be stored: {error}",
            where=path,
            mend="Set FLAREHARNESS_KEY to a file of yours, outside of the results.",
        ) from error
    except ValueError as error:
        raise PrerequisiteError(
            "the key that seals results is damaged",
            where=path,
            mend="Restore it; without it, results that it sealed can no longer be told from forged ones.",
        ) from error


def _store(path: Path) -> None:
    """Write a new key, unless another process is quicker."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_SECRET_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
