"""What the file names in a folder of images or labels say: cases, channels, and what is none of them.

    imagesVal/liver_012_0000.nii.gz    case liver_012, channel 0
    imagesVal/liver_012_0001.nii.gz    case liver_012, channel 1
    labelsVal/liver_012.nii.gz         its label
    labelsVal/liver_012/anna.nii.gz    or that of one rater of several; labelsVal/anna/liver_012.nii.gz as well

Images may also be named like their labels, without a channel, if all of a folder are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from evaluator.errors import RequestError
from evaluator.rater_files import by_case
from harness.errors import ConfigurationError

IMAGE_SUFFIX = "_0000.nii.gz"
LABEL_SUFFIX = ".nii.gz"
IMAGE_ENDINGS = (".nii.gz", ".nii")
"""Image files that can be given to a container."""

LABEL_ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")
"""Label files that the evaluator reads, the longer of two that fit first."""

_OTHER_VOLUMES = (
    ".mha",
    ".mhd",
    ".nrrd",
    ".nhdr",
    ".hdr",
    ".img",
    ".dcm",
    ".mgz",
    ".nii.bz2",
    ".nii.xz",
    ".nii.zst",
)
_OF_THE_SYSTEM = ("thumbs.db", "desktop.ini")
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True)
class ImageNames:
    """The images of a folder.

    Attributes:
        channels: By case id, the image of each channel in order.
        notes: What a person should know of the names.
    """

    channels: dict[str, tuple[Path, ...]]
    notes: tuple[str, ...] = ()


@dataclass
class _Found:
    """Volumes by their names without ending, while a folder is read."""

    stems: dict[str, Path] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def images_of(folder: Path) -> ImageNames:
    """Return the images of a folder, by case and channel.

    Raises:
        ConfigurationError: a name is unreadable or ambiguous, a case lacks a channel, or no file of the folder is an
            image that a container can be given.
    """
    found = _volumes(folder, IMAGE_ENDINGS)
    if not found.stems and found.others:
        raise ConfigurationError(
            f"no file is named <case>{IMAGE_SUFFIX}; there is {some(found.others)}",
            where=folder,
            mend="Submissions are given NIfTI: store each image as .nii.gz, for instance with SimpleITK.",
        )
    _no_other_volumes(found, folder, IMAGE_SUFFIX)
    parsed = {stem: _CHANNEL.fullmatch(stem) for stem in found.stems}
    notes = list(found.notes)
    if not any(match and match["channel"] == "0000" for match in parsed.values()):
        # Without any first channel the endings in digits are the cases' own numbers.
        if found.stems:
            notes.append(
                f"images are named without a channel, such as {next(iter(found.stems.values())).name}"
            )
        return ImageNames({stem: (path,) for stem, path in found.stems.items()}, tuple(notes))
    cases: dict[str, dict[int, Path]] = {}
    for stem, match in parsed.items():
        if match is None:
            raise ConfigurationError(
                f"{found.stems[stem].name} has no channel, and other images have",
                where=folder,
                mend=f"Name it {stem}{IMAGE_SUFFIX}, or take it out of the folder.",
            )
        cases.setdefault(match["case"], {})[int(match["channel"])] = found.stems[stem]
    count = max(len(channels) for channels in cases.values())
    return ImageNames(
        {case: _complete(case, channels, count, folder) for case, channels in cases.items()}, tuple(notes)
    )


def labels_of(folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return the label volumes of a folder by case id, and notes; empty if there is no such folder.

    Raises:
        ConfigurationError: a name is unreadable, or two files are of one case.
    """
    if not folder.is_dir():
        return {}, ()
    found = _volumes(folder, LABEL_ENDINGS)
    _no_other_volumes(found, folder, LABEL_SUFFIX)
    return found.stems, tuple(found.notes)


def raters_of(folder: Path, cases: Collection[str]) -> tuple[dict[str, dict[str, Path]], tuple[str, ...]]:
    """Return the label volumes of cases that have several raters, by case id and rater, and notes.

    Args:
        folder: The folder of labels; a folder in it is of a case, or of a rater (evaluator/rater_files.py).
        cases: The ids of the cases.

    Raises:
        ConfigurationError: see `labels_of`; or it cannot be told which of the two the folders are.
    """
    if not folder.is_dir():
        return {}, ()
    folders: dict[str, dict[str, Path]] = {}
    notes: list[str] = []
    for path in sorted(folder.iterdir()):
        name = readable_name(path)
        if not path.is_dir() or name.startswith("."):
            continue
        stems, more = labels_of(path)
        notes += more
        if stems:
            check_case_id(name, where=path)
            folders[name] = stems
    try:
        return by_case(folders, cases, where=folder), tuple(notes)
    except RequestError as error:
        raise ConfigurationError(error.what, where=error.where, mend=f"{error.mend}.") from error


def some(names: Iterable[str], most: int = 5) -> str:
    """Return the first few of some names in words."""
    listed = list(names)
    shown = ", ".join(listed[:most])
    return shown if len(listed) <= most else f"{shown} and {len(listed) - most} more"


def check_case_id(case: str, *, where: Path) -> None:
    """Check that a case's id can name its folder and its row.

    Raises:
        ConfigurationError: it is empty, hidden, too long, or holds what no name should.
    """
    strange = any(unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp") or sign in "/\\" for sign in case)
    if not case or case.startswith((".", "-")) or strange or len(case.encode()) > 200:
        raise ConfigurationError(
            f"{case!r} is no case id",
            where=where,
            mend="Use letters, digits, `-`, `_` and `.`, and begin with one.",
        )


def readable_name(path: Path) -> str:
    """Return a file's name in composed form (NFC), as file systems differ in how they store an accent.

    Raises:
        ConfigurationError: its bytes are no UTF-8.
    """
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"the name of {path.name.encode(errors='backslashreplace').decode()} is not UTF-8",
            where=path.parent.as_posix(),
            mend="Rename the file, for instance with `convmv`.",
        ) from error
    return unicodedata.normalize("NFC", path.name)


def _volumes(folder: Path, endings: tuple[str, ...]) -> _Found:
    found = _Found()
    hidden = []
    for path in sorted(folder.iterdir()):
        name = readable_name(path)
        if name.startswith(".") or name.lower() in _OF_THE_SYSTEM:
            hidden.append(name)
            continue
        ending = next((ending for ending in endings if name.lower().endswith(ending)), None)
        if ending is None:
            if name.lower().endswith(_OTHER_VOLUMES):
                found.others.append(name)
            continue
        if not path.is_file():
            what = "a link to nothing" if path.is_symlink() else "no file"
            raise ConfigurationError(
                f"{name} is named like a volume and is {what}",
                where=path,
                mend="Restore the file, or remove it.",
            )
        stem = name[: -len(ending)]
        check_case_id(stem, where=path)
        if stem in found.stems:
            raise ConfigurationError(
                f"two files are of one case: {found.stems[stem].name} and {path.name}",
                where=folder,
                mend="Remove the one that does not count.",
            )
        found.stems[stem] = path
    if hidden:
        found.notes.append(f"{len(hidden)} hidden file(s) of {folder.name} left out, such as {hidden[0]}")
    return found


def _no_other_volumes(found: _Found, folder: Path, suffix: str) -> None:
    if found.others:
        raise ConfigurationError(
            f"{some(found.others)} would be left out of the cases",
            where=folder,
            mend=f"Store it as <case>{suffix}, or take it out of the folder.",
        )


def _complete(case: str, channels: dict[int, Path], count: int, folder: Path) -> tuple[Path, ...]:
    if missing := sorted(set(range(count)) - channels.keys()):
        raise ConfigurationError(
            f"case {case} has no channel _{missing[0]:04d}, and other cases have {count} channels",
            where=folder,
            mend=f"Add {case}_{missing[0]:04d}{LABEL_SUFFIX}, or take the case out.",
        )
    return tuple(channels[number] for number in range(count))
