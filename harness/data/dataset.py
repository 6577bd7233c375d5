"""A validation or training set on disk: FLARE's and nnU-Net's folder layouts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path

from harness.data.description import read_description
from harness.data.names import IMAGE_SUFFIX, LABEL_SUFFIX, ImageNames, images_of, labels_of, raters_of, some
from harness.errors import ConfigurationError

SPLITS = ("Val", "Ts", "Tr", "")
"""The endings of `images` and `labels`, in the order in which they are looked for."""


@dataclass(frozen=True)
class Case:
    """One patient's images and, where it is known, the reference label volume.

    Attributes:
        id: The case id, `liver_012` for `liver_012_0000.nii.gz`.
        image: The image, or the first of several channels; None in a set of label volumes only.
        label: The reference label volume, of several raters the first one's; None for a set without references.
        annotated: The label values that this case's reference annotates; None means all.
        more_channels: The images of the second and later channels, on the grid of the first.
        raters: The label volumes by rater, sorted by name, where the case has a folder of them; else none.
    """

    id: str
    image: Path | None
    label: Path | None
    annotated: tuple[int, ...] | None = None
    more_channels: tuple[Path, ...] = ()
    raters: tuple[tuple[str, Path], ...] = ()

    @property
    def labels(self) -> tuple[Path, ...]:
        """The label volumes of all raters; of a case with one reference, that."""
        if self.raters:
            return tuple(path for _, path in self.raters)
        return (self.label,) if self.label is not None else ()

    @property
    def channels(self) -> tuple[Path, ...]:
        """The images of all channels in order."""
        return (self.image, *self.more_channels) if self.image is not None else ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of the case: its channels, then its labels."""
        return (*self.channels, *self.labels)

    def reference_sha256(self) -> str:
        """Return the SHA-256 of the reference's bytes; of several raters, over their names and hashes.

        Raises:
            ConfigurationError: a file cannot be read.
        """
        if self.raters:
            return hashlib.sha256(json.dumps(self._hashed_raters()).encode()).hexdigest()
        assert self.label is not None
        return file_sha256(self.label)

    def fingerprint(self) -> bytes:
        """Return id, annotation and the hashes of all files, as a line."""
        row: list[object] = [self.id, self.annotated]
        row += [file_sha256(path) if path is not None else None for path in (self.image, self.label)]
        row += [file_sha256(path) for path in self.more_channels]
        if self.raters:
            row.append({"raters": self._hashed_raters()})
        return json.dumps(row).encode() + b"\n"

    def _hashed_raters(self) -> list[tuple[str, str]]:
        return [(name, file_sha256(path)) for name, path in self.raters]


@dataclass(frozen=True)
class Dataset:
    """Cases in the order of their ids. Use `open_dataset`.

    Attributes:
        channels: Names of the image channels; empty where `dataset.json` does not name them.
        notes: What a person should know of how the folder was read.
    """

    name: str
    folder: Path
    cases: tuple[Case, ...] = field(repr=False)
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def fingerprint(self, progress: Callable[[int, int], None] | None = None) -> str:
        """Return the SHA-256 over every case's id, annotation and the bytes of its images and labels."""
        total = hashlib.sha256()
        for done, case in enumerate(self.cases, start=1):
            total.update(case.fingerprint())
            if progress is not None:
                progress(done, len(self.cases))
        return total.hexdigest()

    def select(self, cases: Iterable[str]) -> Dataset:
        """Return the data set with only the named cases.

        Raises:
            ConfigurationError: a named case is not in the set.
        """
        wanted = list(cases)
        known = {case.id for case in self.cases}
        if unknown := [case for case in wanted if case not in known]:
            close = get_close_matches(unknown[0], known, n=1)
            raise ConfigurationError(
                f"no case named {', '.join(unknown)}",
                where=self.folder,
                mend=f"Did you mean {close[0]}?" if close else f"Cases: {some(sorted(known))}.",
            )
        return replace(self, cases=tuple(case for case in self.cases if case.id in set(wanted)))


@dataclass(frozen=True)
class Fingerprinted(Dataset):
    """A data set whose fingerprint is known, so that it is not hashed for each of many runs."""

    known: str = ""

    @classmethod
    def of(cls, dataset: Dataset, known: str = "") -> Fingerprinted:
        """Return a data set with its fingerprint, which is computed where it is not given."""
        own = {each.name: getattr(dataset, each.name) for each in fields(Dataset)}
        return cls(**own, known=known or dataset.fingerprint())

    def fingerprint(self, progress: Callable[[int, int], None] | None = None) -> str:
        """Return the one that is known."""
        return self.known

    def select(self, cases: Iterable[str]) -> Dataset:
        """Return the data set with only the named cases, of which no fingerprint is known."""
        return Dataset(**{each.name: getattr(self, each.name) for each in fields(Dataset)}).select(cases)


def open_dataset(folder: Path, *, split: str | None = None, need_labels: bool = True) -> Dataset:
    """Open `folder/images{split}` and `folder/labels{split}`, the FLARE and nnU-Net layouts.

    Args:
        folder: The data set's folder. An optional `dataset.json` in it names the set; see
            `harness.data.description`.
        split: `Val`, `Ts`, `Tr` or empty; by default the first of these that has a folder.
        need_labels: Whether each image must have a label. Labels without an image are always refused.

    Raises:
        ConfigurationError: no such folder, no images, an image without a label or the reverse, or a name
            that could be taken in two ways.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigurationError(
            "the data folder does not exist",
            where=folder,
            mend="Give a folder with imagesVal/ and labelsVal/.",
        )
    images_folder, labels_folder = _split_folders(folder, split)
    images = images_of(images_folder) if images_folder.is_dir() else ImageNames({})
    labels, label_notes = labels_of(labels_folder)
    raters, rater_notes = raters_of(labels_folder, images.channels)
    if both := sorted(labels.keys() & raters.keys()):
        raise ConfigurationError(
            f"case {both[0]} has a label, and a folder of them",
            where=labels[both[0]],
            mend="Put it into the folder under its rater's name, or remove one of the two.",
        )
    labels |= {case: next(iter(each.values())) for case, each in raters.items()}
    if not images.channels:
        raise ConfigurationError(
            "the data folder has labels but no images" if labels else "the data folder has no images",
            where=images_folder,
            mend=f"Put each image there as <case>{IMAGE_SUFFIX}.",
        )
    _check_pairs(images, labels, images_folder, labels_folder, need_labels=need_labels)
    everywhere = {case for name in SPLITS for case in _ids(folder / f"images{name}", images_folder, images)}
    description = read_description(folder, everywhere)
    annotated = description.annotated or {}
    cases = tuple(
        Case(
            case,
            first,
            labels.get(case),
            annotated.get(case),
            tuple(more),
            raters=tuple(sorted(raters.get(case, {}).items())),
        )
        for case, (first, *more) in sorted(images.channels.items())
    )
    _check_channels(description.channels, cases, folder)
    return Dataset(
        description.name or folder.resolve().name,
        folder,
        cases,
        channels=description.channels,
        notes=(*images.notes, *label_notes, *rater_notes, *_rater_note(raters)),
    )


def _rater_note(raters: Mapping[str, Mapping[str, Path]]) -> tuple[str, ...]:
    if not raters:
        return ()
    names = sorted({name for each in raters.values() for name in each})
    return (f"{len(raters)} case(s) have several raters: {some(names)}",)


def _check_pairs(
    images: ImageNames,
    labels: dict[str, Path],
    images_folder: Path,
    labels_folder: Path,
    *,
    need_labels: bool,
) -> None:
    if orphans := sorted(labels.keys() - images.channels.keys()):
        raise ConfigurationError(
            f"{len(orphans)} label(s) have no image: {some(orphans)}",
            where=labels_folder,
            mend=_rename(_written(labels_folder, labels[orphans[0]]), orphans[0], images, labels)
            or f"Add {images_folder.name}/{orphans[0]}{IMAGE_SUFFIX}, or remove the label.",
        )
    if need_labels and (bare := sorted(images.channels.keys() - labels.keys())):
        raise ConfigurationError(
            f"{len(bare)} image(s) have no label: {some(bare)}",
            where=images_folder,
            mend=f"Add {labels_folder.name}/{bare[0]}{LABEL_SUFFIX}, or remove the image.",
        )


def _written(folder: Path, label: Path) -> str:
    return label.relative_to(folder).as_posix()


def _rename(name: str, case: str, images: ImageNames, labels: Mapping[str, Path]) -> str:
    """Return how to mend a label's name that is nearly a case's, as `a_seg` is for case `a`."""
    without_label = images.channels.keys() - labels.keys()
    likely = [bare for bare in sorted(without_label) if case.startswith((f"{bare}_", f"{bare}-", f"{bare}."))]
    likely = likely or get_close_matches(case, sorted(without_label), n=1)
    to = (
        name.replace(case, likely[-1], 1)
        if likely and "/" in name
        else f"{likely[-1]}{LABEL_SUFFIX}"
        if likely
        else ""
    )
    return f"Rename {name} to {to} if it is the label of {likely[-1]}." if likely else ""


def _ids(folder: Path, opened: Path, images: ImageNames) -> Iterable[str]:
    """Return the case ids of one split; other splits than the opened one need not be in order."""
    if folder == opened:
        return images.channels
    if not folder.is_dir():
        return ()
    try:
        return images_of(folder).channels
    except ConfigurationError:
        return ()


def _check_channels(names: tuple[str, ...], cases: tuple[Case, ...], folder: Path) -> None:
    count = len(cases[0].channels)
    if names and len(names) != count:
        raise ConfigurationError(
            f"dataset.json names {len(names)} channel(s), and the cases have {count}",
            where=folder / "dataset.json",
            mend="Name every channel, `_0000` first, or take the images of the others out.",
        )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(
            "a data file cannot be read",
            where=path,
            mend=f"{error.strerror}: restore it, or check permissions.",
        ) from error


def _split_folders(folder: Path, split: str | None) -> tuple[Path, Path]:
    for candidate in SPLITS if split is None else (split,):
        images = folder / f"images{candidate}"
        if images.is_dir():
            return images, folder / f"labels{candidate}"
    for candidate in SPLITS if split is None else (split,):
        labels = folder / f"labels{candidate}"
        if labels.is_dir():
            return folder / f"images{candidate}", labels
    expected = " or ".join(f"images{name}/" for name in (SPLITS if split is None else (split,)))
    raise ConfigurationError("the data folder has no images", where=folder, mend=f"It must hold {expected}.")
