"""Name a file that is no image archive for what it is, so that its owner knows what to hand in instead."""

from __future__ import annotations

from collections.abc import Iterable

from harness.submission.compression import compression_of
from harness.submission.tarstream import RefusedArchiveError

HEAD_BYTES = 1024
"""How much of a file's beginning `refuse_foreign` wants to see."""

_MAGICS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"PK\x03\x04", "a zip file", "Unpack it, and hand in the image archive that is in it."),
    (0, b"PK\x05\x06", "an empty zip file", ""),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z file", "Unpack it, and hand in the image archive that is in it."),
    (0, b"Rar!", "a RAR file", "Unpack it, and hand in the image archive that is in it."),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4", "Use gzip, xz or zstd, which `docker load` reads."),
    (0, b"\x5d\0\0", "compressed with lzma", "Use gzip, xz or zstd, which `docker load` reads."),
    (0, b"\x1f\x9d", "compressed with compress", "Use gzip, xz or zstd, which `docker load` reads."),
    (0, b"hsqs", "a squashfs file system", ""),
    (0, b"%PDF", "a PDF document", ""),
    (0, b"\x7fELF", "a program", ""),
    (32, b"SIF_MAGIC", "a Singularity or Apptainer image", "Hand in the Docker image that it was made from."),
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, not the file that it stands for",
        "Run `git lfs pull`, and hand in the file itself.",
    ),
)
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")
_AGAIN = "Download the archive itself: this is what a site answers instead of it."

_SYSTEM_FOLDERS = frozenset(
    {"bin", "sbin", "etc", "usr", "lib", "lib64", "var", "proc", "sys", "dev", "root"}
)
_ENOUGH_FOLDERS = 3
_ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")


def refuse_foreign(head: bytes, *, inside: str | None = None) -> None:
    """Refuse a file by its first bytes if it can be named, and let everything else pass.

    Args:
        head: Up to `HEAD_BYTES` of its beginning, decompressed.
        inside: What it was compressed with, if anything.

    Raises:
        RefusedArchiveError: it is not a tar, and what it is instead is in the message.
    """
    if (again := compression_of(head)) is not None and inside is not None:
        raise RefusedArchiveError(
            f"it is compressed twice, {again} in {inside}", mend="Decompress it once, and hand in the result."
        )
    found = _named(head)
    if found is not None:
        what, mend = found
        raise RefusedArchiveError(f"it is {what}", mend=mend)


def _named(head: bytes) -> tuple[str, str] | None:
    if not head:
        return "empty (0 bytes)", "Copy or download it again, and compare its size."
    for offset, magic, what, mend in _MAGICS:
        if head.startswith(magic, offset):
            return what, mend
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_PAGES) or (text.startswith((b"<!--", b"<?xml")) and b"<html" in text):
        return "an HTML page (a web page of a download site)", _AGAIN
    if text.startswith(b"<?xml"):
        return "an XML document, perhaps a storage's error message", _AGAIN
    if text.startswith((b"{", b"[")):
        return "a JSON document, perhaps a server's error message", _AGAIN
    if len(head) < 512 or _is_text(head):
        what = "a text file" if _is_text(head) else f"only {len(head)} bytes long, shorter than any tar"
        return what, ""
    return None


def _is_text(head: bytes) -> bool:
    return b"\0" not in head and all(byte >= 0x20 or byte in b"\t\n\r\f" for byte in head)


def refuse_root_file_system(names: Iterable[str]) -> None:
    """Refuse a tar without an image, by the names of what it holds, if it is a container's file system.

    Raises:
        RefusedArchiveError: it is.
    """
    if len({name.partition("/")[0] for name in names} & _SYSTEM_FOLDERS) >= _ENOUGH_FOLDERS:
        raise RefusedArchiveError(
            "it is the root file system of a container, as `docker export` writes it, not an image",
            mend="Commit the container if it is not yet an image, and write it with `docker save NAME:TAG`.",
        )


def refuse_archive_inside(names: Iterable[str]) -> None:
    """Refuse a tar without an image, by the names of what it holds, if one of them is an archive.

    Raises:
        RefusedArchiveError: one is.
    """
    names = tuple(names)
    if any(name.endswith("/layer.tar") for name in names):
        raise RefusedArchiveError(
            "it is an image as Docker before 1.10 wrote it, without a manifest.json",
            mend="Load it into an engine, and write it anew with `docker save NAME:TAG`.",
        )
    for name in names:
        if name.lower().endswith(_ARCHIVE_SUFFIXES):
            raise RefusedArchiveError(
                f"it is no image, and holds another archive, {name[:200]!r}", mend="Hand in that one."
            )
