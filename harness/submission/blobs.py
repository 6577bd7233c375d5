"""The files of an image archive by name: in a tar, or in a folder that was unpacked from one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Protocol

from harness.submission.foreign import refuse_archive_inside, refuse_root_file_system
from harness.submission.tarstream import Member, Readable, RefusedArchiveError, TarStream, safe_name

_MARKS = ("manifest.json", "index.json")
_MOST_FOLDERS_AROUND = 4


class Blobs(Protocol):
    """The files of an archive by name."""

    def size(self, name: str) -> int:
        """Return a file's size in bytes.

        Raises:
            RefusedArchiveError: there is no such file, or it is not a regular one.
        """

    def open(self, name: str) -> Readable:
        """Return a file's content, from its start. Raises as `size` does."""

    def __contains__(self, name: str) -> bool: ...


class TarBlobs:
    """The files of an uncompressed tar. Only an index of it is kept in memory.

    A folder that holds everything, as packing an unpacked archive leaves it, is left out of the names.

    Args:
        file: The tar, open for reading; it may be closed afterwards.
        where: Its name, for messages.

    Raises:
        RefusedArchiveError: it is no image archive, or holds what none holds.
    """

    _descriptor = -1

    def __init__(self, file: BinaryIO, *, where: object = "", max_members: int = 10_000) -> None:
        self._where = where
        self._files: dict[str, tuple[int, int]] = {}
        self._is_whole = True
        links: dict[str, str] = {}
        names: list[str] = []
        trouble = self._read(file, links, names, max_members)
        around = _folder_around(names)
        if around is None:
            refuse_root_file_system(names)
        if trouble is not None:
            raise trouble
        if around is None:
            refuse_archive_inside(names)
        self._files = {name.removeprefix(around or ""): place for name, place in self._files.items()}
        self._descriptor = os.dup(file.fileno())

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def size(self, name: str) -> int:
        """See `Blobs.size`."""
        return self._find(name)[1]

    def open(self, name: str) -> Readable:
        """See `Blobs.open`."""
        offset, size = self._find(name)
        return _Slice(os.dup(self._descriptor), offset, size)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def _read(
        self, file: BinaryIO, links: dict[str, str], names: list[str], max_members: int
    ) -> RefusedArchiveError | None:
        """Index the tar as far as it goes, and return what is wrong with it: the names may tell more."""
        trouble = None
        file.seek(0)
        stream = TarStream(file, max_members=max_members)
        try:
            for member in stream:
                try:
                    names.append(safe_name(member.name))
                    self._index(member, names[-1], links)
                except RefusedArchiveError as error:
                    trouble = trouble or error
            for name, target in links.items():
                if target not in self._files:
                    raise RefusedArchiveError(
                        f"it holds a link to something outside, {name!r}", where=self._where
                    )
                self._files[name] = self._files[target]
        except RefusedArchiveError as error:
            trouble = trouble or error
        self._is_whole = stream.is_whole
        return trouble

    def _index(self, member: Member, name: str, links: dict[str, str]) -> None:
        if name in self._files or name in links:
            raise self._refusal(f"it holds {name!r} twice")
        if member.kind == "file":
            self._files[name] = (member.offset, member.size)
        elif member.kind == "symlink":
            # Engines before 25 write a layer that occurs twice as a link to the first.
            links[name] = _resolved(name, member.target)
        elif member.kind == "hardlink":
            links[name] = safe_name(member.target)
        elif member.kind != "folder":
            raise self._refusal(f"it holds a {member.kind}, {name!r}")

    def _refusal(self, what: str) -> RefusedArchiveError:
        return RefusedArchiveError(what, where=self._where)

    def _find(self, name: str) -> tuple[int, int]:
        if name not in self._files:
            short = "" if self._is_whole else "; it is cut short, for it has no end mark"
            raise self._refusal(f"it lacks {name!r}{short}")
        return self._files[name]


class FolderBlobs:
    """The files of an unpacked archive. Links are never followed, whoever puts them there and when."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def size(self, name: str) -> int:
        """See `Blobs.size`."""
        descriptor = self._descriptor(name)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def open(self, name: str) -> Readable:
        """See `Blobs.open`."""
        descriptor = self._descriptor(name)
        return _Slice(descriptor, 0, os.fstat(descriptor).st_size)

    def __contains__(self, name: str) -> bool:
        try:
            os.close(self._descriptor(name))
        except RefusedArchiveError:
            return False
        return True

    def _descriptor(self, name: str) -> int:
        *folders, last = safe_name(name).split("/")
        current = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in folders:
                above, current = (
                    current,
                    os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current),
                )
                os.close(above)
            found = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=current)
        except OSError as error:
            raise RefusedArchiveError(f"it lacks {name!r}: {error.strerror}", where=self._folder) from error
        finally:
            os.close(current)
        if not stat.S_ISREG(os.fstat(found).st_mode):
            os.close(found)
            raise RefusedArchiveError(f"{name!r} is not a regular file", where=self._folder)
        return found


def unpacked_archive(folder: Path) -> Path | None:
    """Return the folder of an unpacked archive: this one, or the only folder in it; None where it is none."""
    for _ in range(_MOST_FOLDERS_AROUND):
        if any((folder / name).is_file() for name in _MARKS):
            return folder
        inside = [path for path in folder.iterdir() if not _is_litter(path.name)]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].is_symlink():
            return None
        folder = inside[0]
    return None


def _folder_around(names: Iterable[str]) -> str | None:
    """Return `FOLDER/` when all of an image lies in one, the empty text when it lies at the top."""
    files = [name for name in names if name and not _is_litter(name)]
    around = ""
    for _ in range(_MOST_FOLDERS_AROUND):
        if any(around + mark in files for mark in _MARKS):
            return around
        tops = {name.removeprefix(around).partition("/")[0] for name in files if name.startswith(around)} - {
            ""
        }
        if len(tops) != 1:
            return None
        around += f"{tops.pop()}/"
    return None


def _is_litter(name: str) -> bool:
    """Whether macOS left it beside what it packed."""
    top, last = name.partition("/")[0], name.rpartition("/")[2]
    return top == "__MACOSX" or last.startswith("._") or last == ".DS_Store"


class _Slice:
    """A part of an open file as a stream of its own, which closes the descriptor."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._size = size

    def read(self, size: int, /) -> bytes:
        data = os.pread(self._descriptor, min(size, self._size), self._offset)
        self._offset += len(data)
        self._size -= len(data)
        return data

    def __del__(self) -> None:
        os.close(self._descriptor)


def _resolved(name: str, target: str) -> str:
    """Return what a relative link of the archive points to, which may go up within it."""
    outside = RefusedArchiveError(f"it holds a link that leads outside, {name!r}")
    if target.startswith("/"):
        raise outside
    parts = name.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            if not parts:
                raise outside
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
