"""Open an image archive: a file under any compression, or a folder that was unpacked from one.

What must be decompressed goes to a file without a name in the cache folder, which ends with the process
that holds it: a harness that is killed leaves nothing behind.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from harness.engine.cache import made_cache_folder
from harness.errors import ConfigurationError, InfrastructureError
from harness.submission.blobs import Blobs, FolderBlobs, TarBlobs, unpacked_archive
from harness.submission.compression import Decompressed
from harness.submission.foreign import HEAD_BYTES, refuse_foreign
from harness.submission.tarstream import RefusedArchiveError

_PACKED = ("", ".gz", ".xz", ".bz2", ".zst", ".zstd")
SUFFIXES = (*(f".tar{each}" for each in _PACKED), ".tgz", ".txz", ".tbz2", ".tzst")
"""How image archives are called."""

_CHUNK = 1 << 20
_SPARE_BYTES = 1 << 28


def is_archive_name(source: str) -> bool:
    """Whether a text can only mean a file: an image's name has neither of these forms."""
    return source.startswith((".", "/", "~")) or source.endswith(SUFFIXES)


@contextmanager
def opened(
    source: Path, max_bytes: int, progress: Callable[[str], None] = lambda _line: None
) -> Iterator[Blobs]:
    """Give the files of an archive.

    Args:
        source: A tar under any compression that `docker load` takes, or an unpacked archive's folder.
        max_bytes: The most that it may decompress to.
        progress: Gets one line where it takes a while.

    Raises:
        RefusedArchiveError: it is something else; the message names what.
        ConfigurationError: it cannot be read.
        InfrastructureError: the disk is too full to decompress it.
    """
    if source.is_dir():
        folder = unpacked_archive(source)
        if folder is None:
            raise RefusedArchiveError("the folder has neither manifest.json nor index.json", where=source)
        yield FolderBlobs(folder)
        return
    try:
        file = cast(BinaryIO, source.open("rb"))
    except OSError as error:
        raise ConfigurationError(
            f"the archive cannot be read: {error.strerror}", where=source, mend="Check its permissions."
        ) from error
    with file:
        try:
            with _plain(file, source.name, max_bytes, progress) as tar:
                yield TarBlobs(tar, where=source)
        except RefusedArchiveError as error:
            error.add_where(source)
            raise


@contextmanager
def spool(chunks: Iterable[bytes]) -> Iterator[BinaryIO]:
    """Give a file without a name that holds the chunks, in the cache folder.

    Raises:
        InfrastructureError: the disk is nearly full.
    """
    folder = made_cache_folder()
    _remove_leftovers(folder)
    with tempfile.TemporaryFile(dir=folder, prefix="intake-") as file:
        for data in chunks:
            if shutil.disk_usage(folder).free < 2 * len(data) + _SPARE_BYTES:
                raise InfrastructureError(
                    "the disk is nearly full",
                    where=folder,
                    mend="Free space, or set FLAREHARNESS_CACHE to another disk.",
                )
            file.write(data)
        file.flush()
        yield cast(BinaryIO, file)


@contextmanager
def _plain(file: BinaryIO, name: str, max_bytes: int, progress: Callable[[str], None]) -> Iterator[BinaryIO]:
    source = Decompressed(file, max_bytes=max_bytes)
    head = source.read(HEAD_BYTES)
    while len(head) < HEAD_BYTES and (data := source.read(HEAD_BYTES - len(head))):
        head += data
    refuse_foreign(head, inside=source.compression)
    if not source.is_compressed and file.seekable():
        yield file
        return
    progress(f"reading {name}")
    with spool(_chunks(head, source)) as plain:
        yield plain


def _chunks(head: bytes, source: Decompressed) -> Iterator[bytes]:
    yield head
    while data := source.read(_CHUNK):
        yield data


def _remove_leftovers(folder: Path) -> None:
    """Remove what earlier versions, which gave their files names, left when they were killed."""
    for path in folder.glob("intake-*.tar"):
        with suppress(OSError):  # removed while another process reads it, it stays readable there
            path.unlink()
