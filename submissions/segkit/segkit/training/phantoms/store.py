"""A folder of volumes to train on: Hounsfield units without noise, labels, and where each label lies.

One safetensors file for each volume. Axes are (z, y, x), turned to LPS and cropped to the body, as a
submission sees a CT.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from segkit.body import find_body
from segkit.errors import SegkitError
from segkit.files import whole_file

Kind = Literal["phantom", "ct"]

ENDING = ".safetensors"
BODY = 255
"""Stands for any voxel of the body among the places."""

_PLACES_EACH = 256
_BODY_HU = -500


class StoreError(SegkitError):
    """A folder that cannot be trained on."""


@dataclass(frozen=True)
class Volume:
    """One volume of a store.

    Attributes:
        name: The case's name.
        kind: "phantom" has no noise yet and intensities that may be changed at will; "ct" is a real scan.
        hu: int16 (z, y, x).
        labels: uint8 (z, y, x).
        spacing_mm: Voxel size (z, y, x).
        places: For each label that is there, and BODY, indices (n, 3) of some of its voxels, int64.
        medians_hu: Median of each label that is there.
        facts: What its maker said of it.
    """

    name: str
    kind: Kind
    hu: torch.Tensor
    labels: torch.Tensor
    spacing_mm: tuple[float, float, float]
    places: Mapping[int, np.ndarray]
    medians_hu: Mapping[int, float]
    facts: Mapping[str, Any]

    def on(self, device: torch.device) -> Volume:
        """The same volume with its voxels on a device."""
        return Volume(**{**vars(self), "hu": self.hu.to(device), "labels": self.labels.to(device)})


def write_volume(
    path: Path,
    hu: np.ndarray,
    labels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    *,
    kind: Kind,
    facts: Mapping[str, Any],
) -> None:
    """Write a volume, cropped to the body; the file appears whole or not at all.

    Args:
        path: The file.
        hu: Hounsfield units (z, y, x), LPS.
        labels: Of the same shape.
        spacing_mm: Voxel size (z, y, x).
        kind: See `Volume`.
        facts: Kept beside the voxels; must be JSON.
    """
    body = find_body(hu, spacing_mm)
    box = body.box if body else (slice(None),) * 3
    # safetensors writes an array's memory as it lies, so that has to be in order.
    hu = np.ascontiguousarray(np.clip(np.rint(hu[box]), -1024, 3071), dtype=np.int16)
    labels = np.ascontiguousarray(labels[box], dtype=np.uint8)
    random = np.random.default_rng(0)
    found = {int(value): np.flatnonzero(labels == value) for value in np.unique(labels) if value}
    medians = {value: float(np.median(hu.ravel()[where])) for value, where in found.items()}
    found[BODY] = np.flatnonzero(hu > _BODY_HU)
    values, places = [], []
    for value, where in found.items():
        if not where.size:
            continue
        some = random.choice(where, min(where.size, _PLACES_EACH), replace=False)
        places.append(np.stack(np.unravel_index(some, hu.shape), axis=1).astype(np.int16))
        values.append(np.full(len(some), value, dtype=np.uint8))
    told = {"kind": kind, "spacing_mm": list(spacing_mm), "medians_hu": medians, "facts": dict(facts)}
    content = {
        "hu": hu,
        "labels": labels,
        "places": np.concatenate(places) if places else np.zeros((0, 3), np.int16),
        "place_values": np.concatenate(values) if values else np.zeros(0, np.uint8),
    }
    with whole_file(path) as part:
        save_file(content, part, metadata={"volume": json.dumps(told)})


def read_volume(path: Path) -> Volume:
    """Read a volume; its voxels are mapped from the file, so they take memory only as they are used.

    Raises:
        StoreError: The file is damaged, or holds something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()["volume"])
            tensors = {name: file.get_tensor(name) for name in ("hu", "labels", "places", "place_values")}
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise StoreError(f"{path} is no volume to train on ({error}); make the store anew.") from error
    values, places = tensors["place_values"].numpy(), tensors["places"].numpy().astype(np.int64)
    return Volume(
        name=path.name.removesuffix(ENDING),
        kind=told["kind"],
        hu=tensors["hu"],
        labels=tensors["labels"],
        spacing_mm=tuple(told["spacing_mm"]),
        places={int(value): places[values == value] for value in np.unique(values)},
        medians_hu={int(value): median for value, median in told["medians_hu"].items()},
        facts=told["facts"],
    )


def read_store(folders: list[Path]) -> list[Volume]:
    """Every whole volume of some folders, by name.

    Raises:
        StoreError: There is none, or one cannot be read.
    """
    paths = [path for folder in folders for path in sorted(folder.glob(f"[!.]*{ENDING}"))]
    if not paths:
        raise StoreError(
            f"there is no volume in {', '.join(map(str, folders))}; make some with "
            f"python -m segkit.training.phantoms.make"
        )
    return [read_volume(path) for path in paths]
