"""Lay out what one container sees: its one input under an opaque name, and an empty folder to write to."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import json
import os
import secrets
import shutil
import subprocess
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluator import EvaluatorError, read_header
from evaluator.formats.nifti_fields import HEADER_BYTES, TEXTS, new_header, read_fields, write_fields
from evaluator.inflate import PIECE_BYTES, GzipParts
from harness.challenge.sockets import SUFFIX
from harness.data.dataset import Case
from harness.data.metaimage import metaimage_of
from harness.engine.config import HOSTNAME
from harness.errors import ConfigurationError, InfrastructureError
from harness.files import remove_unfinished, whole_file
from harness.run.context import Places, Rules
from harness.run.space import mount_space, unmount_below

CACHE_BYTES = 20 * 1024**3
"""How much of the cache of scrubbed inputs is kept."""

_COMPRESSION_LEVEL = 1
_HOSTS = f"""\
127.0.0.1 localhost {HOSTNAME}
::1 localhost ip6-localhost ip6-loopback
"""
_LONGEST_AXIS_OF_NIFTI_1 = 32767
# Part of the names in the cache: inputs that were scrubbed by other rules are made anew.
_RULES = 2


@dataclass(frozen=True)
class Stage:
    """Folders of the host that one container gets to see, and the name it must write.

    Attributes:
        space: Where what it may write lies: a file system of its own, or `folder`.
        writable_inputs: Whether the inputs are a private copy that it may write to.
    """

    folder: Path
    opaque: str
    expected: str
    space: Path
    writable_inputs: bool = False

    @property
    def inputs(self) -> Path:
        """Holds the one input; mounted read-only, unless it is a copy."""
        return (self.space if self.writable_inputs else self.folder) / "inputs"

    @property
    def outputs(self) -> Path:
        """Empty at the start; mounted writable."""
        return self.space / "outputs"

    @property
    def hosts(self) -> Path:
        """Names the loopback, which Docker leaves out where there is no network; mounted read-only."""
        return self.folder / "hosts"

    @property
    def passwd(self) -> Path:
        """Names the container's user where the image does not; mounted read-only if it is there."""
        return self.folder / "passwd"

    @property
    def bounded(self) -> bool:
        """Whether a file system of its own bounds what it writes."""
        return self.space != self.folder


def opaque_id(secret: str, run: str, case: str) -> str:
    """Return the name that a container sees instead of the case id.

    It is the same each time a case is run, tells nothing to who does not know `secret`, and is digits
    only because some published submissions parse a number out of the file name.
    """
    digest = _keyed(secret, f"{run}/{case}")
    return f"case_{int.from_bytes(digest[:8], 'big') % 10**10:010d}"


def place_in_order(secret: str, run: str, case: str) -> bytes:
    """Return what a run's cases are put in order by, the same each time.

    Containers can count themselves by what they leave in the page cache; in this order that tells nothing
    of the case to who does not know `secret`.
    """
    return _keyed(secret, f"order/{run}/{case}")


def _keyed(secret: str, text: str) -> bytes:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()


def stage_case(case: Case, rules: Rules, places: Places) -> Stage:
    """Make the folders for one container.

    Args:
        case: The case; its images are scrubbed of header texts and extensions.
        rules: The run's.
        places: This host's. The path of `work` shows inside the container, so it names no case.

    Raises:
        InfrastructureError: the image is missing or unreadable, or the disk is full.
    """
    opaque = opaque_id(rules.secret, rules.run, case.id)
    try:
        form = scrubbed_metaimage if rules.contract.grand_challenge is not None else scrubbed_input
        channels = [form(path, places.cache) for path in case.channels]
        stage = empty_stage(rules, places, opaque=opaque)
        for number, scrubbed in enumerate(channels):
            given = stage.inputs / rules.contract.given_name(opaque, number)
            given.parent.mkdir(parents=True, exist_ok=True)
            if stage.writable_inputs:
                shutil.copyfile(scrubbed, given)
                _give(given, rules, places, mode=0o666)
            else:
                link_or_copy(scrubbed, given)
            _read_once(given)
        _list_inputs(stage, rules, places, opaque)
    except OSError as error:
        raise InfrastructureError(
            f"case {case.id} cannot be staged",
            where=error.filename or case.image,
            mend=f"{error.strerror}.",
        ) from error
    return stage


def empty_stage(rules: Rules, places: Places, *, opaque: str = "case") -> Stage:
    """Make the folders of a container that gets no input.

    Raises:
        InfrastructureError: the output's own file system cannot be mounted.
        OSError: the disk is full.
    """
    # A folder of its own each time: what an ordinary user's harness could not remove must not be in the way.
    folder = places.work / secrets.token_hex(8)
    space = folder if places.template is None else folder / "space"
    expected = rules.contract.expected_name(opaque)
    stage = Stage(folder, opaque, expected, space, rules.opt_outs.writable_inputs)
    space.mkdir(parents=True)
    folder.chmod(0o755)
    if places.template is not None:
        mount_space(places.template, space)
    stage.inputs.mkdir()
    stage.outputs.mkdir()
    stage.inputs.chmod(0o755)
    for path, content in ((stage.hosts, _HOSTS.encode()), (stage.passwd, rules.passwd)):
        if content:
            path.write_bytes(content)
            path.chmod(0o644)
    _give(stage.outputs, rules, places, mode=0o777)
    if stage.writable_inputs:
        _give(stage.inputs, rules, places, mode=0o777)
    return stage


def _give(path: Path, rules: Rules, places: Places, *, mode: int) -> None:
    """Let the container's user write to a file: as its owner, or else as everyone below our closed folder."""
    if places.can_give_away:
        os.chown(path, *rules.owner)
        path.chmod(mode & 0o755)
    else:
        path.chmod(mode)


def scrubbed_input(image: Path, cache: Path) -> Path:
    """Return an image without texts, extensions or trailing bytes, made once per content."""
    packed = image.read_bytes()
    target = cache / f"{hashlib.sha256(packed).hexdigest()}.{_RULES}.nii.gz"
    if target.is_file():
        target.touch()
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as unfinished:
        unfinished.write_bytes(scrub(image, packed))
        unfinished.chmod(0o644)
    _prune(cache, keep=target)
    return target


def scrubbed_metaimage(image: Path, cache: Path) -> Path:
    """Return the same as a MetaImage, made once per content."""
    scrubbed = scrubbed_input(image, cache)
    target = scrubbed.with_name(scrubbed.name.removesuffix(".nii.gz") + SUFFIX)
    if target.is_file():
        target.touch()
        return target
    with whole_file(target) as unfinished:
        unfinished.write_bytes(metaimage_of(scrubbed))
        unfinished.chmod(0o644)
    return target


def _list_inputs(stage: Stage, rules: Rules, places: Places, opaque: str) -> None:
    """Write inputs.json, by which an algorithm of grand-challenge.org knows what it was given."""
    sockets = rules.contract.grand_challenge
    if sockets is None:
        return
    listed = [
        {
            "socket": {
                "slug": socket.slug,
                "relative_path": socket.relative_path,
                "is_image_kind": True,
                "is_panimg_kind": True,
                "is_dicom_image_kind": False,
                "is_json_kind": False,
                "is_file_kind": False,
            },
            "file": None,
            "image": {"name": f"{opaque}{SUFFIX}"},
            "value": None,
        }
        for socket in sockets.input
    ]
    path = stage.inputs / "inputs.json"
    path.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    folders = {stage.inputs / "images", *(stage.inputs / socket.relative_path for socket in sockets.input)}
    for written in (path, *folders):
        mode = 0o755 if written.is_dir() else 0o644
        if stage.writable_inputs:
            _give(written, rules, places, mode=mode | 0o022)
        else:
            written.chmod(mode)


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
    voxels = memoryview(stream)[header.data_offset : header.stream_bytes]
    clean = b"".join((_scrubbed_header(stream, header.dtype.itemsize), voxels))
    return bytes(imagecodecs.gzip_encode(clean, level=_COMPRESSION_LEVEL))


def _scrubbed_header(stream: bytearray, itemsize: int) -> bytes:
    """Return a header without texts or extensions; NIfTI-1, which every reader knows, where that holds it."""
    fields = read_fields(stream)
    assert fields is not None, "the header was read before"
    if fields.version == 2 and max(fields.dim) <= _LONGEST_AXIS_OF_NIFTI_1:
        values = asdict(fields)
        for name in ("version", "order", "vox_offset", "magic"):
            del values[name]
        with contextlib.suppress(OverflowError):  # a number that no float32 holds
            return bytes(new_header(1, fields.order, **values, bitpix=8 * itemsize))
    size = HEADER_BYTES[fields.version]
    header = bytearray(stream[:size])
    for offset, length in TEXTS[fields.version]:
        header[offset : offset + length] = bytes(length)
    write_fields(header, fields.version, fields.order, vox_offset=size + 4)
    return bytes(header) + bytes(4)


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


def discard_stages(work: Path) -> None:
    """Remove a stage, or the folder of all of them, with the file systems that are mounted there."""
    unmount_below(work)
    discard(work)


def default_cache() -> Path:
    """Return the user's cache folder for scrubbed inputs."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "flareharness" / "inputs"


def _inflate(packed: bytes, at_least: int) -> bytes:
    parts, pieces, total = GzipParts(io.BytesIO(packed)), [], 0
    while total < at_least and (piece := parts.read(PIECE_BYTES)):
        pieces.append(piece)
        total += len(piece)
    return b"".join(pieces)


def _read_once(path: Path) -> None:
    """Bring the file into the page cache, so that every team starts with the same, warm input."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 22):
            pass


def _prune(cache: Path, *, keep: Path) -> None:
    remove_unfinished(cache)
    files = sorted(
        (
            (path.stat().st_mtime, path.stat().st_size, path)
            for ending in (".nii.gz", SUFFIX)
            for path in cache.glob(f"*{ending}")
        ),
        reverse=True,
    )
    total = 0
    for _, size, path in files:
        total += size
        if total > CACHE_BYTES and path != keep:
            path.unlink(missing_ok=True)
