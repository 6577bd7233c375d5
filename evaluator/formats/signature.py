"""What a file that is no volume is instead, by its first bytes: so that a refusal can name it."""

from __future__ import annotations

_STARTS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"PK\x03\x04", "a zip archive, or NumPy's .npz"),
    (b"Rar!", "a RAR archive"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"CDF", "a MINC or NetCDF file"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"%PDF", "a PDF document"),
    (b"\x80\x02", "a Python pickle, as torch.save wrote it"),
    (b"NRRD000", "NRRD"),
    (b"ObjectType", "MetaImage"),
    (b"NDims", "MetaImage"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (b"/annex/objects/", "a git-annex pointer, not the file itself"),
    (b"{", "text (JSON)"),
    (b"\x00\x05\x16\x07", "a file of macOS beside the real one (AppleDouble)"),
)
_DICOM_OFFSET = 128


def what_it_is(start: bytes) -> str:
    """Return what begins with these bytes, such as "bzip2" or "a web page (HTML)"; empty if unknown.

    Args:
        start: The first bytes; some hundred are enough.
    """
    text = start[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page (HTML)"
    if text.startswith(b"<?xml"):
        return "text (XML)"
    if start[_DICOM_OFFSET : _DICOM_OFFSET + 4] == b"DICM":
        return "a DICOM file"
    if len(start) >= 348 and not any(start[:348]):
        return "only zeros"
    if not start:
        return "empty"
    return next((name for sign, name in _STARTS if start.startswith(sign)), "")
