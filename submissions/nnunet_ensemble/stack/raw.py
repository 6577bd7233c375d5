"""A data set as nnU-Net v2 wants it, from FLARE's layout, nnU-Net v2's or v1's; images are turned to LPS."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from segkit.errors import TrainingDataError
from segkit.files import file_sha256, whole_file, write_whole
from segkit.image import read_labels
from segkit.log import log
from segkit.plan import ABDOMINAL_ORGANS

ENDING = ".nii.gz"
_CHANNEL = re.compile(r"(.+)_(\d{4})\.nii\.gz")
_LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class RawCase:
    """One case.

    Attributes:
        name: Its id.
        images: The image of each channel.
        label: The label map.
    """

    name: str
    images: tuple[Path, ...]
    label: Path


def cases_of(data: Path) -> list[RawCase]:
    """The training cases of a folder, by name.

    Raises:
        TrainingDataError: There is none, or one lacks a channel or its label.
    """
    channels: dict[str, dict[int, Path]] = {}
    for path in sorted((data / "imagesTr").glob(f"*{ENDING}")):
        match = _CHANNEL.fullmatch(path.name)
        if match is None:
            raise TrainingDataError(
                f"{path} has no channel in its name; nnU-Net wants <case>_0000{ENDING}. A data set of the "
                "Medical Segmentation Decathlon is brought into that form by nnUNetv2_convert_MSD_dataset"
            )
        channels.setdefault(match[1], {})[int(match[2])] = path
    if not channels:
        raise TrainingDataError(
            f"no imagesTr/<case>_0000{ENDING} in {data}; give the folder that holds imagesTr"
        )
    count = max(len(found) for found in channels.values())
    cases = []
    for name, found in channels.items():
        label = data / "labelsTr" / f"{name}{ENDING}"
        if sorted(found) != list(range(count)):
            raise TrainingDataError(
                f"{data / 'imagesTr'}: case {name} has channels {sorted(found)} of {count}"
            )
        if not label.is_file():
            raise TrainingDataError(f"{label} is missing; every training image needs its label")
        cases.append(RawCase(name, tuple(found[number] for number in range(count)), label))
    return cases


def description_of(data: Path, cases: list[RawCase]) -> dict[str, Any]:
    """nnU-Net v2's dataset.json of a folder.

    v1 names labels by their values and channels as "modality"; without a dataset.json the values that the
    label maps hold are the labels.

    Raises:
        TrainingDataError: The file names no labels or other channels than there are.
    """
    path = data / "dataset.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    labels = told.get("labels") or _labels_found(cases)
    if all(str(key).isdigit() for key in labels):
        log.info("dataset.json is in v1's form: converted")
        labels = {str(name): int(value) for value, name in labels.items()}
    labels = {name: value if isinstance(value, list) else int(value) for name, value in labels.items()}
    names = told.get("channel_names") or told.get("modality") or {}
    names = (
        dict(enumerate(names))
        if isinstance(names, list)
        else {int(key): str(name) for key, name in names.items()}
    )
    channels = len(cases[0].images)
    if names and len(names) != channels:
        raise TrainingDataError(f"{path} names {len(names)} channels, and the images have {channels}")
    described: dict[str, Any] = {
        "channel_names": {str(number): names.get(number, "CT") for number in range(channels)},
        "labels": labels,
        "numTraining": len(cases),
        "file_ending": ENDING,
    }
    if "regions_class_order" in told:
        described["regions_class_order"] = told["regions_class_order"]
    return described


def write_raw(data: Path, folder: Path) -> None:
    """Write the data set that nnU-Net is led through; what is there already is left.

    An image that lies in LPS is linked to, others are turned; so a model of any of these networks is run on
    volumes turned to LPS.

    Args:
        data: The data set.
        folder: nnUNet_raw/DatasetXXX_NAME.

    Raises:
        TrainingDataError: A case or the description cannot be used, or the folder was begun with other data.
    """
    cases = cases_of(data)
    described = description_of(data, cases)
    _check_same(cases, folder / "sources.json")
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for case in cases:
        for number, image in enumerate(case.images):
            _turned(image, folder / "imagesTr" / f"{case.name}_{number:04d}{ENDING}")
        _turned(case.label, folder / "labelsTr" / f"{case.name}{ENDING}")
    write_whole(folder / "dataset.json", json.dumps(described, indent=1))


def _turned(source: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        image = sitk.ReadImage(str(source))
        if image.GetDimension() != 3:
            raise TrainingDataError(
                f"{source} has {image.GetDimension()} axes; store each channel as a volume of its own, "
                f"<case>_0000{ENDING}, <case>_0001{ENDING}"
            )
        if np.allclose(image.GetDirection(), _LPS, atol=1e-6):
            target.symlink_to(source.resolve())
            return
        with whole_file(target) as part:
            sitk.WriteImage(
                sitk.DICOMOrient(image, "LPS"), str(part), useCompression=True, compressionLevel=1
            )
    except RuntimeError as error:
        raise TrainingDataError(f"{source} cannot be read ({str(error).strip().splitlines()[-1]})") from error


def _labels_found(cases: list[RawCase]) -> Mapping[str, int]:
    largest = max(int(read_labels(case.label).max()) for case in cases)
    known = (*ABDOMINAL_ORGANS, "tumour")
    names = known if largest <= len(known) else tuple(f"label_{value}" for value in range(1, largest + 1))
    log.info(f"no dataset.json: labels up to {largest} taken as {', '.join(names[:largest])}")
    return {"background": 0} | {name: value for value, name in enumerate(names[:largest], start=1)}


def _check_same(cases: list[RawCase], path: Path) -> None:
    sources = {
        case.name: [file_sha256(case.label), *(image.stat().st_size for image in case.images)]
        for case in cases
    }
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(sources, indent=1))
    elif json.loads(path.read_text(encoding="utf-8")) != sources:
        raise TrainingDataError(
            f"{path.parent} was made from other data; delete the work folder or name another"
        )
