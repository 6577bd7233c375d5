"""Write phantoms as a FLARE-layout data set; an interrupted one is completed, never overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from harness.data.dataset import IMAGE_SUFFIX, LABEL_SUFFIX
from harness.data.phantom.case import GENERATOR_VERSION, PhantomCase, check_recipe, make_case
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
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write `imagesSPLIT`, `labelsSPLIT` and `dataset.json`.

    Files that are there from an earlier call with the same recipe are kept, so an interrupted call is
    taken up, and more cases can be added.

    Args:
        folder: Made if missing.
        cases: How many patients; their ids are phantom_0001 and so on.
        seed: Names the population.
        split: `Tr`, `Val` or `Ts`; no two share a patient.
        shape: Voxels along x, y, z; by default 128 x 128 and the protocol's number of slices.
        workers: Processes.
        progress: Called with how many cases are there, and how many there will be.

    Raises:
        ConfigurationError: the folder holds another data set, or an argument is out of range.
    """
    check_recipe(split=split, shape=shape)
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError("the data folder is a file", where=folder, mend="Name another.")
    recipe = {"seed": seed, "shape": list(shape) if shape else None}
    _describe(folder, split, recipe, cases)
    missing = [index for index in range(1, cases + 1) if not _is_there(folder, split, index)]
    done = cases - len(missing)
    if progress is not None:
        progress(done, cases)
    with ProcessPoolExecutor(max_workers=max(1, min(workers, len(missing) or 1))) as pool:
        jobs = [pool.submit(_write_case, folder, seed, index, split, shape) for index in missing]
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
    if split in splits and splits[split]["recipe"] != recipe:
        raise ConfigurationError(
            f"the folder holds phantoms of another recipe: {json.dumps(splits[split]['recipe'])}",
            where=path,
            mend="Give the same seed and shape, or name a new folder.",
        )
    splits[split] = {"recipe": recipe, "cases": max(cases, splits.get(split, {}).get("cases", 0))}
    description["numTraining"] = splits.get("Tr", {}).get("cases", 0)
    for kind in ("images", "labels"):
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


def _paths(folder: Path, split: str, index: int) -> tuple[Path, Path]:
    name = f"phantom_{index:04d}"
    return (
        folder / f"images{split}" / f"{name}{IMAGE_SUFFIX}",
        folder / f"labels{split}" / f"{name}{LABEL_SUFFIX}",
    )


def _is_there(folder: Path, split: str, index: int) -> bool:
    return all(path.is_file() for path in _paths(folder, split, index))


def _write_case(folder: Path, seed: int, index: int, split: str, shape: tuple[int, int, int] | None) -> None:
    phantom = make_case(seed=seed, index=index, split=split, shape=shape)
    image_path, label_path = _paths(folder, split, index)
    for path, array in ((image_path, phantom.image_hu), (label_path, phantom.label)):
        _replace(path, partial(_write_volume, _as_image(phantom, array)))


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
