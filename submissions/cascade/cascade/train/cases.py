"""Training cases: prepared once as both networks see them, then drawn from."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from segkit.cases import IMAGE_ENDING
from segkit.errors import TrainingDataError
from segkit.files import whole_file
from segkit.image import CT, read_ct, read_labels
from segkit.log import log
from segkit.resample import Shape, grid_shape, linear_taps

from cascade.plan import CascadePlan
from cascade.preprocess import network_image, scaling_for
from cascade.region import find_region

_PLACES_PER_LABEL = 4000


@dataclass(frozen=True)
class Case:
    """A prepared case, read from disk as it is used.

    Attributes:
        name: The case's name.
        folder: Holds image.npy (float16), labels.npy (uint8) and places.npz (for each label that is
            there, indices (n, 3) of some of its voxels).
    """

    name: str
    folder: Path

    def is_whole(self) -> bool:
        """Whether the case was prepared to the end."""
        return (self.folder / "places.npz").exists()

    def image(self) -> np.ndarray:
        """The image (z, y, x), float16, memory-mapped."""
        return np.load(self.folder / "image.npy", mmap_mode="r")

    def labels(self) -> np.ndarray:
        """The labels (z, y, x), uint8, memory-mapped."""
        return np.load(self.folder / "labels.npy", mmap_mode="r")

    def places(self) -> tuple[dict[int, np.ndarray], dict[int, int]]:
        """Indices (n, 3) of some voxels of each label, and the number of its voxels."""
        with np.load(self.folder / "places.npz") as stored:
            counts = dict(stored["counts"].tolist())
            return {label: stored[str(label)] for label in counts}, counts


def prepare_cases(
    data: Path, labels: Path, work: Path, plan: CascadePlan, phase: str, processes: int = 1
) -> list[Case]:
    """Prepare every training case for a phase, unless that was done before.

    Args:
        data: Holds imagesTr/<case>_0000.nii.gz.
        labels: Holds <case>.nii.gz.
        work: Where prepared cases are kept.
        plan: Grids and intensities.
        phase: "location" or "organs".
        processes: Cases that are prepared at a time.

    Raises:
        TrainingDataError: There are no images, a label is missing or does not fit, or the folder
            `work` was prepared for another plan.
    """
    images = sorted((data / "imagesTr").glob(f"*{IMAGE_ENDING}"))
    if not images:
        raise TrainingDataError(
            f"{data}/imagesTr holds no <case>{IMAGE_ENDING}; the folder must be laid out as FLARE's is"
        )
    folder = work / "cases"
    folder.mkdir(parents=True, exist_ok=True)
    _check_same_preparation(folder, plan, phase)
    cases = [
        Case(path.name.removesuffix(IMAGE_ENDING), folder / path.name.removesuffix(IMAGE_ENDING))
        for path in images
    ]
    jobs = [
        (case, image, labels / f"{case.name}.nii.gz")
        for case, image in zip(cases, images, strict=True)
        if not case.is_whole()
    ]
    prepare = partial(_prepare, plan, phase)
    with ExitStack() as stack:
        results: Iterable[object] = map(prepare, jobs)
        if processes > 1 and len(jobs) > 1:
            pool = multiprocessing.get_context("spawn").Pool(min(processes, len(jobs)))
            results = stack.enter_context(pool).imap_unordered(prepare, jobs)
        for number, _ in enumerate(results, start=1 + len(images) - len(jobs)):
            log.info(f"{phase}: prepared {number} of {len(images)}")
    cases = [case for case in cases if case.is_whole()]
    if not cases:
        raise TrainingDataError(f"no label in {labels} holds an organ")
    return cases


def _prepare(plan: CascadePlan, phase: str, job: tuple[Case, Path, Path]) -> None:
    case, image, label = job
    ct, array = _read_pair(image, label)
    prepared = {"location": _prepare_location, "organs": _prepare_organs}[phase](ct, array, plan)
    if prepared is not None:
        _write(case.folder, *prepared)


def patch_at(array: np.ndarray, centre: np.ndarray, size: Shape, fill: float) -> np.ndarray:
    """A patch around a voxel, moved inside the array where it fits, padded evenly where it does not.

    Args:
        array: Shape (z, y, x).
        centre: Voxel (z, y, x).
        size: Size of the patch.
        fill: Value of the padding.
    """
    part, pad = [], []
    for middle, wanted, have in zip(centre, size, array.shape, strict=True):
        start = int(np.clip(middle - wanted // 2, 0, max(0, have - wanted)))
        part.append(slice(start, start + wanted))
        missing = max(0, wanted - have)
        pad.append((missing // 2, missing - missing // 2))
    return np.pad(np.asarray(array[tuple(part)]), pad, constant_values=fill)


def nearest_labels(labels: np.ndarray, shape: Shape) -> np.ndarray:
    """Labels on another grid over the same extent, by the nearest voxel."""
    index = []
    for size_in, size_out in zip(labels.shape, shape, strict=True):
        lower, upper, weight = linear_taps(size_in, size_out)
        index.append(np.where(weight < 0.5, lower, upper))
    return labels[np.ix_(*index)]


def _prepare_location(ct: CT, labels: np.ndarray, plan: CascadePlan) -> tuple[np.ndarray, np.ndarray]:
    size = plan.location.size
    image = network_image(ct.array, size, scaling_for(ct.array, plan.location.window))
    return image, (nearest_labels(labels, size) > 0).astype(np.uint8)


def _prepare_organs(ct: CT, labels: np.ndarray, plan: CascadePlan) -> tuple[np.ndarray, np.ndarray] | None:
    # A lesion label, as FLARE23 has it, is no organ.
    labels = np.where(labels < len(plan.labels), labels, 0).astype(np.uint8)
    region = find_region(
        labels > 0, labels.shape, ct.spacing_mm, smallest_part_ml=0.0, margin_mm=plan.organs.margin_mm
    )
    if region is None:
        return None
    part = ct.array[region.box]
    shape = grid_shape(part.shape, ct.spacing_mm, plan.organs.spacing_mm)
    image = network_image(part, shape, scaling_for(ct.array, plan.organs.window))
    return image, nearest_labels(labels[region.box], shape)


def _read_pair(image_path: Path, label_path: Path) -> tuple[CT, np.ndarray]:
    if not label_path.exists():
        raise TrainingDataError(f"{label_path} is missing; every training image needs its label")
    ct = read_ct(image_path)
    labels = ct.orientation.to_canonical(read_labels(label_path))
    if labels.shape != ct.array.shape or labels.min() < 0 or labels.max() > 255:
        raise TrainingDataError(
            f"{label_path}: shape {labels.shape} for an image of {ct.array.shape}, values from "
            f"{labels.min()} to {labels.max()}; a label lies on its image's grid and holds 0 to 255"
        )
    return ct, labels.astype(np.uint8)


def _write(folder: Path, image: np.ndarray, labels: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / "image.npy", image.astype(np.float16))
    np.save(folder / "labels.npy", labels)
    random = np.random.default_rng(0)
    values, counts = np.unique(labels, return_counts=True)
    places = {"counts": np.stack([values.astype(np.int64), counts], axis=1)}
    for value in values:
        found = np.flatnonzero(labels == value)
        chosen = random.choice(found, min(len(found), _PLACES_PER_LABEL), replace=False)
        # A volume has fewer than 65,536 voxels a side, and thousands of cases keep these in memory.
        places[str(value)] = np.stack(np.unravel_index(chosen, labels.shape), axis=1).astype(np.uint16)
    # Written last: it says that the case is whole.
    with whole_file(folder / "places.npz") as part:
        np.savez(part, allow_pickle=False, **places)


def _check_same_preparation(folder: Path, plan: CascadePlan, phase: str) -> None:
    fields = {"location": ("size", "window"), "organs": ("spacing_mm", "margin_mm", "window")}[phase]
    settings = json.loads(json.dumps({name: asdict(getattr(plan, phase))[name] for name in fields}))
    path = folder / "preparation.json"
    if path.exists() and json.loads(path.read_text()) != settings:
        raise TrainingDataError(
            f"{folder} was prepared for another recipe; delete it, or name another --work"
        )
    path.write_text(json.dumps(settings))
