"""Take one file out of a folder that a dead container wrote to, trusting nothing in it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from harness.errors import InfrastructureError

_COPY_CHUNK = 1 << 22
_DEEPEST = 32


@dataclass(frozen=True)
class Census:
    """What lies under an output folder, counted until one of the limits is passed.

    Attributes:
        size_bytes: Apparent or allocated size, whichever is larger, file by file.
        entries: Names counted, at most one more than was asked for.
        too_deep: Folders nested deeper than anybody needs.
        closed: A folder is closed to us, so what lies in it is not counted.
    """

    size_bytes: int
    entries: int
    too_deep: bool = False
    closed: bool = False
    names: tuple[str, ...] = ()


def take_census(folder: Path, *, most_entries: int) -> Census:
    """Count what lies under a folder without following a link, in bounded time and memory."""
    total = entries = 0
    names: list[str] = []
    too_deep = closed = False
    waiting: list[tuple[Path, int]] = [(folder, 0)]
    while waiting and entries <= most_entries:
        current, depth = waiting.pop()
        try:
            with os.scandir(current) as found:
                for entry in found:
                    entries += 1
                    if entries > most_entries:
                        break
                    with contextlib.suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        total += (
                            max(status.st_size, status.st_blocks * 512) if stat.S_ISREG(status.st_mode) else 0
                        )
                        if stat.S_ISDIR(status.st_mode):
                            if depth >= _DEEPEST:
                                too_deep = True
                            else:
                                waiting.append((Path(entry.path), depth + 1))
                    if depth == 0 and len(names) < 20:
                        names.append(entry.name)
        except PermissionError:
            closed = True
        except OSError:
            continue  # gone while we looked
    return Census(total, entries, too_deep, closed, tuple(sorted(names)))


@dataclass(frozen=True)
class Harvested:
    """The one file, copied and hashed; or why there is none.

    Attributes:
        missing: Nothing of the expected name is there; says what is there instead.
        refused: Something is there, and it is not an acceptable file.
    """

    path: Path | None = None
    sha256: str = ""
    size_bytes: int = 0
    missing: str = ""
    refused: str = ""


def harvest(
    outputs: Path, expected: str, target: Path, *, most_bytes: int, hard_links: bool = False
) -> Harvested:
    """Copy `outputs/expected` to `target` if it is a plain file of the container's own.

    Args:
        outputs: Written by a container that is gone.
        expected: The one name that counts, below folders of the container's own (`images/organs/*.mha`); with
            `*` in it, any name that is the only one to fit.
        target: Where the copy goes; its folder exists.
        most_bytes: The largest file accepted.
        hard_links: Accept a file that has other names, as in a folder that no container wrote.

    Raises:
        InfrastructureError: the copy cannot be written.
    """
    *folders, name = expected.split("/")
    opened = [os.open(outputs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)]
    try:
        for each in folders:
            opened.append(os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened[-1]))
        if "*" in name:
            fitting = sorted(found for found in _names(opened[-1]) if fnmatchcase(found.lower(), name))
            if len(fitting) > 1:
                return Harvested(refused=f"{len(fitting)} files are {expected}; one is expected")
            name = fitting[0] if fitting else name
        # O_NONBLOCK: a FIFO must not hold us.
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened[-1])
    except OSError as error:
        return _not_opened(outputs, expected, error)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            return Harvested(refused=f"{expected} is {_kind(status.st_mode)}, not a file")
        if status.st_nlink != 1 and not hard_links:
            return Harvested(refused=f"{expected} is a hard link")
        if status.st_size > most_bytes:
            return Harvested(refused=f"{expected} has {status.st_size} bytes")
        return _copy(source, target, most_bytes)
    finally:
        os.close(source)


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as found:
        return [entry.name for entry in found]


def _not_opened(outputs: Path, expected: str, error: OSError) -> Harvested:
    if error.errno == errno.ENOENT:
        others = [name for name in take_census(outputs, most_entries=20).names if name != expected]
        shown = ", ".join(repr(name)[1:-1][:80] for name in others[:3])
        return Harvested(
            missing=f"no file {expected}" + (f"; it wrote {shown}" if others else "; it wrote nothing")
        )
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return Harvested(refused=f"{expected} is a symbolic link, or lies behind one or below a file")
    if error.errno in (errno.ENXIO, errno.EACCES, errno.EPERM, errno.ENODEV):
        return Harvested(refused=f"{expected} cannot be opened: {error.strerror}")
    raise InfrastructureError("an output cannot be read", where=outputs, mend=f"{error.strerror}.") from error


def _copy(source: int, target: Path, most_bytes: int) -> Harvested:
    digest = hashlib.sha256()
    size = 0
    temporary = target.with_name(f".{target.name}.part")
    try:
        with temporary.open("wb") as copy:
            while piece := os.read(source, _COPY_CHUNK):
                size += len(piece)
                if size > most_bytes:
                    return Harvested(refused=f"more than {most_bytes} bytes")
                digest.update(piece)
                copy.write(piece)
            copy.flush()
            os.fsync(copy.fileno())
        temporary.replace(target)
    except OSError as error:
        raise InfrastructureError(
            "a prediction cannot be stored", where=target, mend=f"{error.strerror}. Free space and run again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return Harvested(path=target, sha256=digest.hexdigest(), size_bytes=size)


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")
