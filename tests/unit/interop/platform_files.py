"""Files as platforms lay them out for a scorer: made-up cases of a challenge that is nowhere in the code."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from harness.challenge import load_challenge
from harness.cli.app import run
from harness.interop.platform_rules import platform_rules

CHALLENGE = """\
name = "knee"
title = "Knee: bones & cartilage"

[[labels]]
value = 3
name = "femur"
tolerance_mm = 1.0
group = "bones"

[[labels]]
value = 7
name = "tibia"
tolerance_mm = 1.0
group = "bones"

[[labels]]
value = 9
name = "cartilage"
tolerance_mm = 0.5
group = "soft"

[limits]
memory = "4 GiB"
time = "90 s"

[scoring]
metrics = ["dsc", "nsd"]

[ranking]
order = "rank-then-average"

[[ranking.metrics]]
metric = "dsc"
labels = "bones"

[[ranking.metrics]]
metric = "hd95"
labels = "soft"
failed = 100

[[ranking.metrics]]
metric = "runtime_s"
"""

SHAPE = (14, 12, 10)
SPACING = (1.0, 1.5, 2.0)


def challenge_file(folder: Path) -> Path:
    """Write the challenge's TOML and return its path."""
    path = folder / "knee.toml"
    path.write_text(CHALLENGE)
    return path


def labels(*, cartilage: bool = True) -> np.ndarray:
    """Three structures, or two."""
    array = np.zeros(SHAPE, np.uint8)
    array[1:6, 1:6, 1:5] = 3
    array[8:13, 1:6, 2:6] = 7
    if cartilage:
        array[2:5, 8:11, 6:9] = 9
    return array


def shifted(array: np.ndarray, by: int) -> np.ndarray:
    """The same, moved along x."""
    return np.roll(array, by, axis=0)


def affine() -> np.ndarray:
    """A grid away from the origin."""
    matrix = np.diag([*SPACING, 1.0])
    matrix[:3, 3] = (-20.0, 4.0, 7.0)
    return matrix


def write_nifti(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine()), path)
    return path


def write_mha(path: Path, array: np.ndarray) -> Path:
    """Write what an algorithm writes with SimpleITK, compressed, on the grid of `write_nifti`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetSpacing(SPACING)
    image.SetOrigin((20.0, -4.0, 7.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, path, useCompression=True)
    return path


def write_dataset(folder: Path, cases: dict[str, np.ndarray]) -> Path:
    """Write images of noise and references in FLARE's layout."""
    for number, (case, array) in enumerate(cases.items()):
        noise = np.random.default_rng(number).integers(-1000, 1000, SHAPE).astype(np.int16)
        write_nifti(folder / "imagesVal" / f"{case}_0000.nii.gz", noise)
        write_nifti(folder / "labelsVal" / f"{case}.nii.gz", array)
    return folder


def job(pk: str, image_name: str, *, status: str = "Succeeded", word: str = "socket") -> dict[str, object]:
    """An entry of predictions.json, in the platform's shape of 2025 and 2026."""

    def socket(slug: str, relative_path: str) -> dict[str, object]:
        return {
            "slug": slug,
            "relative_path": relative_path,
            "is_image_kind": True,
            "is_panimg_kind": True,
            "is_dicom_image_kind": False,
            "is_json_kind": False,
            "is_file_kind": False,
        }

    def value(inside: dict[str, object], name: str) -> dict[str, object]:
        return {word: inside, "file": None, "image": {"name": name}, "value": None}

    return {
        "pk": pk,
        "inputs": [value(socket("mri", "images/mri"), image_name)],
        "outputs": [value(socket("knee-labels", "images/knee-labels"), "output.mha")],
        "exec_duration": "PT1M2.5S",
        "invoke_duration": None,
        "status": status,
    }


def write_predictions(folder: Path, jobs: list[dict[str, object]]) -> None:
    """Write /input/predictions.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "predictions.json").write_text(json.dumps(jobs))


def harness_means(places: dict[str, Path], predictions: Path, tmp_path: Path) -> dict[str, float]:
    """The means of the leaderboard that the harness makes of the same predictions."""
    common = ["--challenge", str(places["toml"]), "--results", str(tmp_path / "results")]
    assert run(["score", str(predictions), "--team", "team", "--data", str(places["data"]), *common]) == 0
    assert run(["leaderboard", *common]) == 0
    table = (tmp_path / "results" / "knee" / "leaderboard.csv").read_text()
    [row] = csv.DictReader(io.StringIO(table))
    keys = [column.key for column in platform_rules(load_challenge(str(places["toml"]))).columns]
    return {key: float(row[key]) for key in keys if row.get(key)}
