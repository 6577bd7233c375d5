"""A validation or training set on disk: FLARE's and nnU-Net's folder layouts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import ConfigurationError

IMAGE_SUFFIX = "_0000.nii.gz"
LABEL_SUFFIX = ".nii.gz"
_SPLITS = ("Val", "Ts", "Tr", "")


@dataclass(frozen=True)
class Case:
    """One patient's CT and, where it is known, its reference label volume.

    Attributes:
        id: The case id, `liver_012` for `liver_012_0000.nii.gz`.
        image: The CT in Hounsfield units; None in a set of label volumes only.
        label: The reference label volume; None for a set without references.
        annotated: The label values that this case's reference annotates; None means all.
    """

    id: str
    image: Path | None
    label: Path | None
    annotated: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Dataset:
    """Cases in the order of their ids. Use `open_dataset`."""

    name: str
    folder: Path
    cases: tuple[Case, ...] = field(repr=False)

    def fingerprint(self, progress: Callable[[int, int], None] | None = None) -> str:
        """Return the SHA-256 over every case's id, annotation and the bytes of its image and label."""
        total = hashlib.sha256()
        for done, case in enumerate(self.cases, start=1):
            row = [case.id, case.annotated]
            row += [file_sha256(path) if path is not None else None for path in (case.image, case.label)]
            total.update(json.dumps(row).encode() + b"\n")
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
            raise ConfigurationError(
                f"no case named {', '.join(unknown)}",
                where=self.folder,
                mend=f"Cases: {_some(sorted(known))}.",
            )
        return Dataset(self.name, self.folder, tuple(case for case in self.cases if case.id in set(wanted)))


def open_dataset(folder: Path, *, split: str | None = None, need_labels: bool = True) -> Dataset:
    """Open `folder/images{split}` and `folder/labels{split}`, the FLARE and nnU-Net layouts.

    Args:
        folder: The data set's folder. An optional `dataset.json` in it names the set; its optional
            field `annotated` maps case ids to the label values annotated in that case.
        split: `Val`, `Ts`, `Tr` or empty; by default the first of these that has a folder.
        need_labels: Whether each image must have a label. Labels without an image are always refused.

    Raises:
        ConfigurationError: no such folder, no images, an image without a label or the reverse.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigurationError(
            "the data folder does not exist",
            where=folder,
            mend="Give a folder with imagesVal/ and labelsVal/.",
        )
    images_folder, labels_folder = _split_folders(folder, split)
    images = _by_case(images_folder, IMAGE_SUFFIX)
    labels = _by_case(labels_folder, LABEL_SUFFIX) if labels_folder.is_dir() else {}
    if not images:
        raise ConfigurationError(
            "the data folder has labels but no images" if labels else "the data folder has no images",
            where=images_folder,
            mend=f"Put each CT there as <case>{IMAGE_SUFFIX}.",
        )
    if orphans := sorted(labels.keys() - images.keys()):
        raise ConfigurationError(
            f"{len(orphans)} label(s) have no image: {_some(orphans)}",
            where=labels_folder,
            mend=f"Add {images_folder.name}/{orphans[0]}{IMAGE_SUFFIX}, or remove the label.",
        )
    if need_labels and (bare := sorted(images.keys() - labels.keys())):
        raise ConfigurationError(
            f"{len(bare)} image(s) have no label: {_some(bare)}",
            where=images_folder,
            mend=f"Add {labels_folder.name}/{bare[0]}{LABEL_SUFFIX}, or remove the image.",
        )
    description = _description(folder)
    annotated = description.get("annotated", {})
    cases = tuple(
        Case(case, image, labels.get(case), _annotated(annotated, case, folder))
        for case, image in sorted(images.items())
    )
    return Dataset(str(description.get("name") or folder.resolve().name), folder, cases)


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
    for candidate in _SPLITS if split is None else (split,):
        images = folder / f"images{candidate}"
        if images.is_dir():
            return images, folder / f"labels{candidate}"
    for candidate in _SPLITS if split is None else (split,):
        labels = folder / f"labels{candidate}"
        if labels.is_dir():
            return folder / f"images{candidate}", labels
    expected = " or ".join(f"images{name}/" for name in (_SPLITS if split is None else (split,)))
    raise ConfigurationError("the data folder has no images", where=folder, mend=f"It must hold {expected}.")


def _by_case(folder: Path, suffix: str) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {path.name.removesuffix(suffix): path for path in folder.iterdir() if path.name.endswith(suffix)}


def _description(folder: Path) -> dict[str, object]:
    path = folder / "dataset.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError("dataset.json cannot be read", where=path, mend=str(error)) from error
    if not isinstance(content, dict):
        raise ConfigurationError("dataset.json is not an object", where=path, mend="See docs/results.md.")
    return content


def _annotated(table: object, case: str, folder: Path) -> tuple[int, ...] | None:
    if not isinstance(table, dict) or case not in table:
        return None
    values = table[case]
    if not isinstance(values, list) or not all(isinstance(value, int) for value in values):
        raise ConfigurationError(
            f"`annotated` of case {case} is not a list of label values",
            where=folder / "dataset.json",
            mend="Write e.g. [1, 2, 3].",
        )
    return tuple(sorted(values))


def _some(names: list[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
