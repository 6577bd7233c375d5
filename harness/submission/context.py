"""What is sent to the engine for a build: the same files make the same bytes, and the same hash."""

from __future__ import annotations

import hashlib
import json
import stat
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from docker.utils.build import exclude_paths

from harness.errors import SubmissionError

ALWAYS_IGNORED = (
    ".git",
    ".dockerignore",
    "**/__pycache__",
    "**/*.pyc",
    "**/*.egg-info",
    "**/.pytest_cache",
    "**/.cache",
)
"""Left out besides what a .dockerignore names: installing, running and training leave them behind."""

_EPOCH = 315_532_800  # 1980-01-01, the earliest time that every archive format can hold


@dataclass(frozen=True)
class Entry:
    """One file, link or folder of a build context, under its name in the context."""

    name: str
    path: Path


def collect(folder: Path, extra: Mapping[str, Path] | None = None) -> tuple[Entry, ...]:
    """Return what a build context holds, sorted by name.

    Args:
        folder: The context; its .dockerignore is honoured.
        extra: More files, or folders with all that is in them, by their name in the context.

    Raises:
        SubmissionError: something in it is neither a file, a folder nor a link.
    """
    entries = {entry.name: entry for entry in _tree(folder, "")}
    for name, path in (extra or {}).items():
        entries[name] = Entry(name, path)
        if path.is_dir():
            entries |= {entry.name: entry for entry in _tree(path, f"{name}/")}
    for entry in entries.values():
        mode = entry.path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            raise SubmissionError(
                "the build folder holds something that is neither a file, a folder nor a link",
                where=entry.path,
                mend="Remove it, or name it in .dockerignore.",
            )
    return tuple(entries[name] for name in sorted(entries))


def content_hash(entries: Iterable[Entry], *, more: Sequence[object] = ()) -> str:
    """Return the SHA-256 over names, kinds, executable bits and bytes, and over the JSON values `more`."""
    total = hashlib.sha256()
    for entry in entries:
        mode = entry.path.lstat().st_mode
        if stat.S_ISLNK(mode):
            row = ["link", entry.name, str(entry.path.readlink())]
        elif stat.S_ISDIR(mode):
            row = ["folder", entry.name]
        else:
            with entry.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            row = ["program" if mode & 0o100 else "file", entry.name, digest]
        total.update(json.dumps(row).encode() + b"\n")
    total.update(json.dumps(list(more), sort_keys=True).encode())
    return total.hexdigest()


def write_tar(entries: Iterable[Entry], file: IO[bytes]) -> None:
    """Write the entries as a tar that depends on nothing but their names, kinds and bytes."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            info = archive.gettarinfo(entry.path, arcname=entry.name)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = _EPOCH
            info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
            if info.islnk():  # a hard link to a file that this tar holds under another name
                info.type, info.linkname = tarfile.REGTYPE, ""
                info.size = entry.path.lstat().st_size
            if info.isreg():
                with entry.path.open("rb") as content:
                    archive.addfile(info, content)
            else:
                archive.addfile(info)


def _tree(folder: Path, prefix: str) -> Iterable[Entry]:
    ignore = folder / ".dockerignore"
    patterns = [*ALWAYS_IGNORED]
    if ignore.is_file():
        lines = (line.strip() for line in ignore.read_text(encoding="utf-8").splitlines())
        patterns = [line for line in lines if line and not line.startswith("#")] + patterns
    for name in exclude_paths(str(folder), patterns):
        yield Entry(f"{prefix}{name}", folder / name)
