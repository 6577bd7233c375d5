"""Lay out what one container sees: its one input under an opaque name, and an empty folder to write to."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from evaluator import EvaluatorError, read_header
from harness.challenge import Contract
from harness.data.dataset import Case
from harness.errors import ConfigurationError, InfrastructureError
from harness.files import whole_file

CACHE_BYTES = 20 * 1024**3
"""How much of the cache of scrubbed inputs is kept."""

_COMPRESSION_LEVEL = 1
# (offset, length) of the free texts of both NIfTI headers: data_type, db_name, descrip, aux_file,
# intent_name; descrip, aux_file, intent_name, unused_str.
_TEXTS_1 = ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16))
_TEXTS_2 = ((240, 80), (320, 24), (508, 16), (525, 15))


@dataclass(frozen=True)
class Stage:
    """Folders of the host that one container gets to see, and the name it must write."""

    folder: Path
    opaque: str
    expected: str

    @property
    def inputs(self) -> Path:
        """Holds the one input; mounted read-only."""
        return self.folder / "inputs"

    @property
    def outputs(self) -> Path:
        """Empty at the start; mounted writable."""
        return self.folder / "outputs"


def opaque_id(secret: str, run: str, case: str) -> str:
    """Return the name that a container sees instead of the case id.

    It is the same each time a case is run, tells nothing to who does not know `secret`, and is digits
    only because some published submissions parse a number out of the file name.
    """
    digest = hmac.new(secret.encode(), f"{run}/{case}".encode(), hashlib.sha256).digest()
    return f"case_{int.from_bytes(digest[:8], 'big') % 10**10:010d}"


def stage_case(
    case: Case, *, opaque: str, work: Path, contract: Contract, cache: Path, owner: tuple[int, int] | None
) -> Stage:
    """Make the folders for one container.

    Args:
        case: The case; its image is scrubbed of header texts and extensions.
        opaque: From `opaque_id`.
        work: Where stages are made. Its path shows inside the container, so it names no case.
        contract: File name suffixes.
        cache: Where scrubbed inputs are kept between runs.
        owner: The container's uid and gid, where the harness may give files away; None leaves the
            output folder open to everyone.

    Raises:
        InfrastructureError: the image is missing or unreadable, or the disk is full.
    """
    # A folder of its own each time: what an ordinary user's harness could not remove must not be in the way.
    stage = Stage(work / secrets.token_hex(8), opaque, f"{opaque}{contract.output_suffix}")
    try:
        scrubbed = scrubbed_input(case, cache)
        stage.inputs.mkdir(parents=True)
        stage.outputs.mkdir()
        stage.folder.chmod(0o755)
        stage.inputs.chmod(0o755)
        link_or_copy(scrubbed, stage.inputs / f"{opaque}{contract.input_suffix}")
        if owner is not None:
            os.chown(stage.outputs, *owner)
            stage.outputs.chmod(0o755)
        else:
            stage.outputs.chmod(0o777)
        _read_once(stage.inputs / f"{opaque}{contract.input_suffix}")
    except OSError as error:
        raise InfrastructureError(
            f"case {case.id} cannot be staged",
            where=error.filename or case.image,
            mend=f"{error.strerror}.",
        ) from error
    return stage


def scrubbed_input(case: Case, cache: Path) -> Path:
    """Return the case's image without texts, extensions or trailing bytes, made once per content."""
    assert case.image is not None, "a case to run has an image"
    packed = case.image.read_bytes()
    target = cache / f"{hashlib.sha256(packed).hexdigest()}.nii.gz"
    if target.is_file():
        target.touch()
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as unfinished:
        unfinished.write_bytes(scrub(case.image, packed))
        unfinished.chmod(0o644)
    _prune(cache, keep=target)
    return target


def scrub(path: Path, packed: bytes) -> bytes:
    """Return a NIfTI file's bytes, gzipped anew, with the same voxels and geometry and nothing to read.

    Raises:
        InfrastructureError: it is no NIfTI file.
    """
    import imagecodecs

    try:
        header = read_header(path)
        stream = bytearray(packed if header.compression == "none" else _inflate(packed, header.stream_bytes))
    except (EvaluatorError, zlib.error) as error:
        raise InfrastructureError(f"the image cannot be read: {error}", where=path) from error
    if len(stream) < header.stream_bytes:
        raise InfrastructureError("the image is truncated", where=path, mend="Restore it from its source.")
    order = "<" if struct.unpack_from("<i", stream)[0] in (348, 540) else ">"
    version_1 = struct.unpack_from(order + "i", stream)[0] == 348
    size, texts = (348, _TEXTS_1) if version_1 else (540, _TEXTS_2)
    for offset, length in texts:
        stream[offset : offset + length] = bytes(length)
    if version_1:
        struct.pack_into(order + "f", stream, 108, float(size + 4))
    else:
        struct.pack_into(order + "q", stream, 168, size + 4)
    voxels = memoryview(stream)[header.data_offset : header.stream_bytes]
    clean = b"".join((bytes(stream[:size]), bytes(4), voxels))
    return bytes(imagecodecs.gzip_encode(clean, level=_COMPRESSION_LEVEL))


def check_image(path: Path) -> None:
    """Check that an image has a readable header.

    Raises:
        ConfigurationError: it has not.
    """
    try:
        read_header(path)
    except EvaluatorError as error:
        raise ConfigurationError(
            error.what, where=path, mend=error.mend or "Restore it from its source."
        ) from error


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it where the file system does not link."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(0o644)


def discard(folder: Path) -> None:
    """Remove a folder that a stranger wrote to, however deep and whatever it holds."""
    if not folder.exists():
        return
    # Python's rmtree recurses, and a container may nest directories beyond any recursion limit. It may
    # also have closed them to their owner.
    remove = ["rm", "-rf", "--one-file-system", "--", str(folder)]
    for command in (remove, ["chmod", "-R", "u+rwX", "--", str(folder)], remove):
        subprocess.run(command, check=False, capture_output=True)
        if not folder.exists():
            return


def default_cache() -> Path:
    """Return the user's cache folder for scrubbed inputs."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "flareharness" / "inputs"


def _inflate(packed: bytes, at_least: int) -> bytes:
    pieces, total = [], 0
    while packed and total < at_least:
        inflater = zlib.decompressobj(wbits=31)
        pieces.append(inflater.decompress(packed))
        total += len(pieces[-1])
        packed = inflater.unused_data.lstrip(b"\0")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _read_once(path: Path) -> None:
    """Bring the file into the page cache, so that every team starts with the same, warm input."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 22):
            pass


def _prune(cache: Path, *, keep: Path) -> None:
    files = sorted(
        ((path.stat().st_mtime, path.stat().st_size, path) for path in cache.glob("*.nii.gz")), reverse=True
    )
    total = 0
    for _, size, path in files:
        total += size
        if total > CACHE_BYTES and path != keep:
            path.unlink(missing_ok=True)
