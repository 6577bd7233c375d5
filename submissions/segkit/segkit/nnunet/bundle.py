"""A bundle: one or several configurations of nnU-Net with their folds, as plain data.

bundle.json                             this
3d_fullres/fold_0/model.safetensors     weights in float16, a folder for each fold
3d_fullres/fold_0/network.xml, .bin     OpenVINO's form, made when the image is built
3d_fullres/fold_0/int8.xml, .bin        in 8-bit integers, where quantising held
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from segkit.errors import PlanError
from segkit.plan import Intensity, NetworkPlan, Resampling, Sizes

BUNDLE_NAME = "bundle.json"
FORMAT = "nnunet-bundle-1"

Scheme = Literal["ct", "zscore", "none", "rescale01", "rgb01"]
Orientation = Literal["stored", "canonical", "ras"]
Labels = Mapping[str, int | tuple[int, ...]]


@dataclass(frozen=True)
class Normalisation:
    """What is done to the intensities of a channel.

    Attributes:
        scheme: "ct": clipped and z-scored by numbers of the training data; "zscore": by those of the image;
            "rescale01", "rgb01": to 0 to 1 by the image's range or by 255; "none".
        masked: Whether a z-score sees, and changes, only what is not zero.
        intensity: The numbers of "ct".
    """

    scheme: Scheme
    masked: bool = False
    intensity: Intensity | None = None


@dataclass(frozen=True)
class Configuration:
    """A network of nnU-Net's with everything that is done around it.

    Attributes:
        spacing_mm: The network's grid, axes in the order of `transpose`; two for a network of slices.
        patch: Size of a tile, likewise.
        transpose: For each axis of the network's volume, the stored axis (z, y, x) that it comes from.
        normalisation: That of each channel.
        image_resampling, logits_resampling, labels_resampling: How nnU-Net resamples these.
        network: The network.
        folds: Names of the folds that are averaged, such as "0" or "all".
        mirror_axes: Axes along which training mirrored, so that a test may.
        previous_stage: The configuration whose labels are further channels.
    """

    spacing_mm: tuple[float, ...]
    patch: Sizes
    transpose: tuple[int, int, int]
    normalisation: tuple[Normalisation, ...]
    image_resampling: Resampling
    logits_resampling: Resampling
    labels_resampling: Resampling
    network: NetworkPlan
    folds: tuple[str, ...]
    mirror_axes: tuple[int, ...] = ()
    previous_stage: str | None = None

    @property
    def tile(self) -> tuple[int, int, int]:
        """The patch as a volume; that of a network of slices is one slice thick."""
        first, second, third = (1,) * (3 - len(self.patch)) + self.patch
        return (first, second, third)


@dataclass(frozen=True)
class Bundle:
    """Everything but weights.

    Attributes:
        channels: Names of the image channels.
        labels: The value of each label, the background among them; a region is several values.
        regions_order: Value that each region writes, in turn; empty where labels exclude each other.
        orientation: How volumes are turned before the network sees them.
        configurations: By name, stages that others need among them.
        ensemble: Names of those whose probabilities are averaged.
        postprocessing: In turn, label values of which only the largest connected part stays.
        source: Where it comes from, for people.
    """

    channels: tuple[str, ...]
    labels: Labels
    regions_order: tuple[int, ...]
    orientation: Orientation
    configurations: Mapping[str, Configuration]
    ensemble: tuple[str, ...]
    postprocessing: tuple[tuple[int, ...], ...] = ()
    source: Mapping[str, str] = field(default_factory=dict)

    @property
    def foreground(self) -> tuple[int, ...]:
        """Every label value but that of the background, ascending."""
        values = {
            value for told in self.labels.values() for value in (told if isinstance(told, tuple) else (told,))
        }
        return tuple(sorted(values - {0}))

    @property
    def outputs(self) -> int:
        """Outputs of each network: labels with the background, or regions."""
        return len(self.regions_order) or len(self.foreground) + 1

    def to_json(self) -> str:
        """The bundle as JSON text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"


def fold_folder(bundle: Path, configuration: str, fold: str) -> Path:
    """Where a fold's weights lie."""
    return bundle / configuration / f"fold_{fold}"


def load_bundle(folder: Path) -> Bundle:
    """Read the bundle.json of a folder.

    Raises:
        PlanError: It is missing or no such file.
    """
    path = folder / BUNDLE_NAME
    if not path.is_file():
        raise PlanError(f"{path} is missing; make a bundle with python -m segkit.nnunet.convert.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        return _bundle(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PlanError(
            f"{path} is no bundle of this version ({error!r}); make it anew with python -m "
            "segkit.nnunet.convert."
        ) from error


def _bundle(content: dict[str, Any]) -> Bundle:
    labels = {
        name: tuple(value) if isinstance(value, list) else int(value)
        for name, value in content["labels"].items()
    }
    return Bundle(
        channels=tuple(content["channels"]),
        labels=labels,
        regions_order=tuple(content["regions_order"]),
        orientation=content["orientation"],
        configurations={name: _configuration(told) for name, told in content["configurations"].items()},
        ensemble=tuple(content["ensemble"]),
        postprocessing=tuple(tuple(values) for values in content["postprocessing"]),
        source=content["source"],
    )


def _configuration(told: dict[str, Any]) -> Configuration:
    first, second, third = told["transpose"]
    return Configuration(
        spacing_mm=tuple(told["spacing_mm"]),
        patch=tuple(told["patch"]),
        transpose=(first, second, third),
        normalisation=tuple(_normalisation(each) for each in told["normalisation"]),
        image_resampling=Resampling(**told["image_resampling"]),
        logits_resampling=Resampling(**told["logits_resampling"]),
        labels_resampling=Resampling(**told["labels_resampling"]),
        network=NetworkPlan.from_dict(told["network"]),
        folds=tuple(told["folds"]),
        mirror_axes=tuple(told["mirror_axes"]),
        previous_stage=told["previous_stage"],
    )


def _normalisation(told: dict[str, Any]) -> Normalisation:
    intensity = Intensity(**told["intensity"]) if told["intensity"] else None
    return Normalisation(told["scheme"], told["masked"], intensity)
