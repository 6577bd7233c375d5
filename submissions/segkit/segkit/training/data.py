"""What a training learns from: pairs of a CT and its labels, read as inference reads a CT."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from segkit.body import find_body
from segkit.cases import IMAGE_ENDING, LABEL_ENDING
from segkit.errors import TrainingDataError
from segkit.files import file_sha256
from segkit.image import read_ct, read_labels
from segkit.training.recipe import Preparation

_AS_INFERENCE = Preparation()


@dataclass(frozen=True)
class Pair:
    """A CT and its labels.

    Attributes:
        case: The case's name.
        image: The CT, NIfTI.
        label: Its label map on the same grid, NIfTI.
    """

    case: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Task:
    """What is learnt.

    Attributes:
        name: Names folders; letters, digits and underscores.
        labels: Name of each output; the first is the background.
        values: The output that each stored label value stands for, every other value being background;
            None where the stored values are the outputs.
    """

    name: str
    labels: tuple[str, ...]
    values: Mapping[int, int] | None = None

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise TrainingDataError(f"the task {self.name} needs a background and at least one label.")
        if self.values and not set(self.values.values()) <= set(range(len(self.labels))):
            raise TrainingDataError(
                f"the task {self.name} maps labels to {sorted(set(self.values.values()))} and has outputs 0 "
                f"to {len(self.labels) - 1}."
            )

    def learnt(self, stored: np.ndarray) -> np.ndarray:
        """Stored label values (any shape) as outputs, uint8; what is not mapped stays as it is."""
        if self.values is None:
            return stored
        learnt = np.zeros(stored.shape, dtype=np.uint8)
        for value, output in self.values.items():
            learnt[stored == value] = output
        return learnt


def pairs_of(data: Path, labels: Path | None = None, cases: Collection[str] | None = None) -> list[Pair]:
    """The pairs of a FLARE-layout folder, by name.

    Args:
        data: Holds imagesTr/<case>_0000.nii.gz.
        labels: Holds <case>.nii.gz; labelsTr beside imagesTr if None.
        cases: Only these; every image if None.

    Raises:
        TrainingDataError: There is no image, an image has no label, or a wanted case has no image.
    """
    labels = labels or data / "labelsTr"
    images = {
        path.name.removesuffix(IMAGE_ENDING): path for path in (data / "imagesTr").glob(f"*{IMAGE_ENDING}")
    }
    if not images:
        raise TrainingDataError(
            f"no imagesTr/<case>{IMAGE_ENDING} in {data}; give the folder that holds imagesTr"
        )
    wanted = sorted(images if cases is None else cases)
    if not wanted:
        raise TrainingDataError(f"none of the cases in {data} is to be learnt from")
    for case in wanted:
        if case not in images:
            raise TrainingDataError(f"{data / 'imagesTr' / (case + IMAGE_ENDING)} is missing")
        if not (labels / f"{case}{LABEL_ENDING}").exists():
            raise TrainingDataError(
                f"{labels / (case + LABEL_ENDING)} is missing; every training image needs its label"
            )
    return [Pair(case, images[case], labels / f"{case}{LABEL_ENDING}") for case in wanted]


def read_case(
    pair: Pair, task: Task, how: Preparation = _AS_INFERENCE
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """A case as inference sees it, turned to LPS and cropped to the body, and further as a recipe says.

    Returns:
        Hounsfield units and outputs, float32 and uint8, both (z, y, x); and the voxel size in mm (z, y, x).

    Raises:
        TrainingDataError: The label does not fit its image or the task.
    """
    ct = read_ct(pair.image)
    labels = ct.orientation.to_canonical(task.learnt(read_labels(pair.label)))
    if labels.shape != ct.array.shape or not 0 <= labels.min() <= labels.max() < len(task.labels):
        raise TrainingDataError(
            f"{pair.label}: shape {labels.shape} for an image of {ct.array.shape}, values up to "
            f"{labels.max()} for {len(task.labels) - 1} labels; the label must lie on the image's grid "
            f"and fit the task {task.name}"
        )
    body = find_body(ct.array, ct.spacing_mm)
    z, y, x = body.box if body else (slice(0, size) for size in labels.shape)
    if how.slices_around_labels is not None:
        z = _slices_with_labels(labels, z, how.slices_around_labels)
    hu = np.ascontiguousarray(ct.array[z, y, x], dtype=np.float32)
    if how.clip_hu is not None:
        np.clip(hu, *how.clip_hu, out=hu)
    return hu, np.ascontiguousarray(labels[z, y, x], dtype=np.uint8), ct.spacing_mm


def _slices_with_labels(labels: np.ndarray, z: slice, around: int) -> slice:
    """Those of the slices that hold a label, and some on both sides; all of them where none holds any."""
    held = np.flatnonzero(labels[z].any(axis=(1, 2)))
    if not held.size:
        return z
    first, last = z.start + int(held[0]), z.start + int(held[-1]) + 1
    return slice(max(z.start, first - around), min(z.stop, last + around))


def check_sources(pairs: Sequence[Pair], task: Task, path: Path, how: Preparation = _AS_INFERENCE) -> None:
    """Refuse a work folder that was begun with other data; its later steps would silently keep them.

    Args:
        pairs: What is learnt from.
        task: What is learnt.
        path: The file that says what the folder was begun with; made where missing.
        how: How cases are brought to the grid.

    Raises:
        TrainingDataError: The folder was begun with other data, another task or another preparation.
    """
    with ThreadPoolExecutor() as pool:  # hashing leaves Python's lock to others
        digests = list(pool.map(lambda pair: file_sha256(pair.label), pairs))
    sources = {
        "task": [list(task.labels), sorted((task.values or {}).items())],
        "cases": {
            pair.case: {
                "image_bytes": pair.image.stat().st_size,
                "label_sha256": digest,
            }
            for pair, digest in zip(pairs, digests, strict=True)
        },
    }
    if how != _AS_INFERENCE:
        sources["preparation"] = asdict(how)
    sources = json.loads(json.dumps(sources))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(sources, indent=1), encoding="utf-8")
        return
    known = json.loads(path.read_text(encoding="utf-8"))
    if known == sources:
        return
    differing = sorted(
        case
        for case in known["cases"].keys() | sources["cases"].keys()
        if known["cases"].get(case) != sources["cases"].get(case)
    )
    what = "the labels differ"
    if differing:
        what = f"{len(differing)} cases differ, the first is {differing[0]}"
    elif known.get("preparation") != sources.get("preparation"):
        what = "they were prepared in another way"
    raise TrainingDataError(
        f"{path.parent} was made from other data ({what}); delete the work folder or name another"
    )
