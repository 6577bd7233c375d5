"""A recipe: grid, patch, intensities and schedule of a training, as a JSON file holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from segkit.errors import TrainingDataError


@dataclass(frozen=True)
class Jitter:
    """What `segkit.training.augment.TissueJitter` is made with."""

    label_sd: float
    texture_sd: float


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a training goes.

    With `hours` it follows the clock (`ClockTrainer`: AdamW, warm-up, cosine), without it the epochs
    (`EpochTrainer`: SGD with nnU-Net's polynomial decay). The defaults are nnU-Net's.

    Attributes:
        epochs: The most epochs.
        learning_rate: The largest learning rate.
        hours: Ends the training before its last epoch.
        iterations_per_epoch: Steps per epoch.
        validation_iterations_per_epoch: Batches that are only looked at, per epoch.
        weight_decay: The optimiser's.
        oversample_foreground: Share of patches that hold foreground for certain.
        mirror_axes: Axes that patches are mirrored along, counted from the first of the patch; all if
            None. Organs have sides.
        elastic_probability: Of a patch being deformed elastically; nnU-Net does it in a fifth of the
            cases where it does it at all.
        jitter: Intensities and textures of their own for labels; None leaves the image alone.
        seed: Of weights and patches; None is another one each time.
    """

    epochs: int
    learning_rate: float
    hours: float | None = None
    iterations_per_epoch: int = 250
    validation_iterations_per_epoch: int = 50
    weight_decay: float = 3e-5
    oversample_foreground: float = 0.33
    mirror_axes: tuple[int, ...] | None = None
    elastic_probability: float = 0.0
    jitter: Jitter | None = None
    seed: int | None = None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Schedule:
        """Read the "schedule" table of a recipe.

        Raises:
            TrainingDataError: An entry is missing or unknown.
        """
        content = _checked(cls, content, "schedule")
        if content.get("mirror_axes") is not None:
            content["mirror_axes"] = tuple(content["mirror_axes"])
        if content.get("jitter") is not None:
            content["jitter"] = Jitter(**_checked(Jitter, content["jitter"], "schedule's jitter"))
        return cls(**content)

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads."""
        return asdict(self)


@dataclass(frozen=True)
class Preparation:
    """How a case is brought to the network's grid; the defaults are what inference does.

    Attributes:
        slices_around_labels: Slices that are kept above and below those that hold a label; None keeps all.
        clip_hu: Hounsfield units below the first or above the second become these, before intensities are
            measured; None for none.
        image_order: Order of the splines that resample images; 1 is linear.
        label_order: That of labels: 1 interpolates each label's mask, 0 takes the nearest voxel.
    """

    slices_around_labels: int | None = None
    clip_hu: tuple[float, float] | None = None
    image_order: int = 1
    label_order: int = 1

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Preparation:
        """Read the "preparation" table of a recipe.

        Raises:
            TrainingDataError: An entry is unknown.
        """
        content = _checked(cls, content, "preparation")
        if content.get("clip_hu") is not None:
            low, high = content["clip_hu"]
            content["clip_hu"] = (low, high)
        return cls(**content)


@dataclass(frozen=True)
class Recipe:
    """Everything about a training but its data and its network.

    Two entries of spacing and patch make a 2-D training on slices as they lie along z.

    Attributes:
        spacing: Voxel size (mm) of the network's grid, (z, y, x) or (y, x).
        patch_size: Voxels of that grid, likewise.
        batch_size: Patches per step.
        schedule: How long and how fast.
        batch_dice: Whether the Dice loss takes the batch as one volume.
        intensity: Entries of nnU-Net's intensity statistics (percentile_00_5, percentile_99_5, mean, std;
            HU) that replace those of the data.
        preparation: How cases are brought to the grid.
    """

    spacing: tuple[float, ...]
    patch_size: tuple[int, ...]
    batch_size: int
    schedule: Schedule
    batch_dice: bool = True
    intensity: Mapping[str, float] = field(default_factory=dict)
    preparation: Preparation = Preparation()

    def __post_init__(self) -> None:
        if len(self.spacing) not in (2, 3) or len(self.spacing) != len(self.patch_size):
            raise TrainingDataError(
                f"the recipe has spacing {list(self.spacing)} and patch_size {list(self.patch_size)}; both "
                f"need three entries (z, y, x), or two (y, x)"
            )
        if any(not 0 <= axis < len(self.spacing) for axis in self.schedule.mirror_axes or ()):
            raise TrainingDataError(
                f"the recipe mirrors along axes {list(self.schedule.mirror_axes or ())} of a patch that has "
                f"{len(self.spacing)}"
            )

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Recipe:
        """Read a recipe; an "architecture" in the same file is not looked at.

        Raises:
            TrainingDataError: An entry is missing, unknown or does not fit the others.
        """
        content = {key: value for key, value in content.items() if key != "architecture"}
        content = _checked(cls, content, "recipe")
        content["schedule"] = Schedule.from_dict(content["schedule"])
        content["preparation"] = Preparation.from_dict(content.get("preparation", {}))
        for key in ("spacing", "patch_size"):
            content[key] = tuple(content[key])
        return cls(**content)


def _checked(kind: type, content: Mapping[str, Any], name: str) -> dict[str, Any]:
    known = {entry.name: entry for entry in fields(kind)}
    unknown = sorted(content.keys() - known.keys())
    if unknown:
        raise TrainingDataError(f"the {name} has no entry {unknown[0]!r}; the entries are {', '.join(known)}")
    for key, entry in known.items():
        if key not in content and entry.default is MISSING and entry.default_factory is MISSING:
            raise TrainingDataError(f"the {name} lacks the entry {key!r}")
    return dict(content)
