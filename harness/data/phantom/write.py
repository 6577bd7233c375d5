"""Write phantoms as a FLARE-layout data set; an interrupted one is completed, never overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial as partial_call
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from harness.data.names import IMAGE_SUFFIX, LABEL_SUFFIX
from harness.data.phantom.case import GENERATOR_VERSION, PhantomCase, check_recipe, make_case
from harness.data.phantom.partial import annotation, show_only
from harness.data.phantom.patient import ORGANS, TUMOUR
from harness.errors import ConfigurationError

_GZIP_LEVEL = 1


def write_dataset(
    folder: Path,
    *,
    cases: int,
    seed: int,
    split: str = "Val",
    shape: tuple[int, int, int] | None = None,
    view: str = "abdomen",
    partial: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write `imagesSPLIT`, `labelsSPLIT` and `dataset.json`; with `partial`, also `labelsFullSPLIT`.

    Files that are there from an earlier call with the same recipe are kept, so an interrupted call is
    taken up, and more cases can be added.

    Args:
        folder: Made if missing.
        cases: How many patients; their ids are phantom_0001 and so on.
        seed: Names the population.
        split: `Tr`, `Val` or `Ts`; no two share a patient.
        shape: Voxels along x, y, z; by default 128 x 128 and the protocol's number of slices.
        view: What is scanned: the `abdomen`, or `anywhere` between shoulders and thighs.
        partial: Leave labels out as a set pooled from several sources does: in turn, cases annotate
            everything, some organs, the tumour or nothing (and then have no label file). `annotated` of
            `dataset.json` tells which; `labelsFullSPLIT` holds the complete labels.
        workers: Processes.
        progress: Called with how many cases are there, and how many there will be.

    Raises:
        ConfigurationError: the folder holds another data set, or an argument is out of range.
    """
    check_recipe(split=split, shape=shape, view=view)
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError("the data folder is a file", where=folder, mend="Name another.")
    recipe: dict[str, Any] = {"seed": seed, "shape": list(shape) if shape else None, "view": view}
    if partial:
        recipe["partial"] = True
    _describe(folder, split, recipe, cases)
    annotated = {
        index: annotation(seed=seed, index=index, split=split)[1] if partial else None
        for index in range(1, cases + 1)
    }
    missing = [i for i, values in annotated.items() if not _is_there(folder, split, i, values)]
    done = cases - len(missing)
    if progress is not None:
        progress(done, cases)
    with ProcessPoolExecutor(max_workers=max(1, min(workers, len(missing) or 1))) as pool:
        make = partial_call(make_case, seed=seed, split=split, shape=shape, view=view)
        jobs = [pool.submit(_write_case, folder, split, make, i, annotated[i]) for i in missing]
        try:
            for job in as_completed(jobs):
                job.result()
                done += 1
                if progress is not None:
                    progress(done, cases)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _describe(folder: Path, split: str, recipe: dict[str, Any], cases: int) -> None:
    """Write dataset.json, or check that the one there tells of the same recipe."""
    path = folder / "dataset.json"
    description = _read(path)
    if description is None:
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigurationError(
                "the folder holds something else", where=folder, mend="Name an empty or new folder."
            )
        description = {
            "name": "phantom",
            "description": "Procedural abdominal CT phantoms; free of any patient's data",
            "generator": "flareharness phantom",
            "generator_version": GENERATOR_VERSION,
            "licence": "CC0-1.0",
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, **ORGANS, "tumour": TUMOUR},
            "file_ending": LABEL_SUFFIX,
            "numTraining": 0,
            "splits": {},
        }
    if description.get("generator_version") != GENERATOR_VERSION:
        raise ConfigurationError(
            "the folder holds another data set, or phantoms of another generator version",
            where=path,
            mend="Name a new folder, or delete this one.",
        )
    splits = description["splits"]
    partial = bool(recipe.get("partial"))
    if any(other != split and (partial or known["recipe"].get("partial")) for other, known in splits.items()):
        raise ConfigurationError(
            "a partially annotated split shares its folder with no other split, since ids would clash",
            where=path,
            mend="Name a new folder for this split.",
        )
    if split in splits and splits[split]["recipe"] != recipe:
        raise ConfigurationError(
            f"the folder holds phantoms of another recipe: {json.dumps(splits[split]['recipe'])}",
            where=path,
            mend="Give the same seed, shape, view and --partial or not, or name a new folder.",
        )
    splits[split] = {"recipe": recipe, "cases": max(cases, splits.get(split, {}).get("cases", 0))}
    description["numTraining"] = splits.get("Tr", {}).get("cases", 0)
    if partial:
        description["annotated"] = {
            _name(index): list(annotation(seed=recipe["seed"], index=index, split=split)[1])
            for index in range(1, splits[split]["cases"] + 1)
        }
    for kind in ("images", "labels", "labelsFull") if partial else ("images", "labels"):
        (folder / f"{kind}{split}").mkdir(parents=True, exist_ok=True)
    _replace(path, lambda file: file.write_text(json.dumps(description, indent=1) + "\n"))


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError("dataset.json cannot be read", where=path, mend=str(error)) from error
    return content if isinstance(content, dict) else {}


def _name(index: int) -> str:
    return f"phantom_{index:04d}"


def _is_there(folder: Path, split: str, index: int, annotated: tuple[int, ...] | None) -> bool:
    return all(path.is_file() for path in _paths(folder, split, index, annotated).values())


def _paths(folder: Path, split: str, index: int, annotated: tuple[int, ...] | None) -> dict[str, Path]:
    """Return the files of a case: its image and, as far as it has them, its labels."""
    name = _name(index)
    paths = {"image": folder / f"images{split}" / f"{name}{IMAGE_SUFFIX}"}
    if annotated is None or annotated:
        paths["label"] = folder / f"labels{split}" / f"{name}{LABEL_SUFFIX}"
    if annotated is not None:
        paths["full"] = folder / f"labelsFull{split}" / f"{name}{LABEL_SUFFIX}"
    return paths


def _write_case(
    folder: Path,
    split: str,
    make: Callable[..., PhantomCase],
    index: int,
    annotated: tuple[int, ...] | None,
) -> None:
    phantom = make(index=index)
    shown = phantom.label if annotated is None else show_only(phantom.label, annotated)
    arrays = {"image": phantom.image_hu, "label": shown, "full": phantom.label}
    for kind, path in _paths(folder, split, index, annotated).items():
        _replace(path, partial_call(_write_volume, _as_image(phantom, arrays[kind])))


def _write_volume(volume: sitk.Image, path: Path) -> None:
    sitk.WriteImage(volume, str(path), True, _GZIP_LEVEL)


def _as_image(phantom: PhantomCase, array: Any) -> sitk.Image:
    """Return an array as an ITK image: its axes are reversed, and its world has x and y the other way."""
    volume = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    volume.SetSpacing(phantom.spacing_mm)
    volume.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    x, y, z = (float(value) for value in phantom.affine[:3, 3])
    volume.SetOrigin((-x, -y, z))
    return volume


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that it is either whole or not there."""
    unfinished = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
