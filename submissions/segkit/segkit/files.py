"""Files that appear whole or not at all, and their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give the name to write under; the file gets its own name once the block is left without an error.

    The name given begins with a dot and keeps the ending, which tells some writers the format.

    Args:
        path: Where the file shall be; its folder must exist.
    """
    part = path.with_name(f".part-{path.name}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all.

    Args:
        path: Where to; its folder must exist.
        text: What it holds.
    """
    with whole_file(path) as part:
        part.write_text(text)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
