"""One CT, one label map."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np

from segkit.body import Body, find_body
from segkit.centre_first import run_centre_first
from segkit.components import beside_largest_parts, drop_side_parts, only
from segkit.engine import Engine
from segkit.errors import SegkitError
from segkit.image import CT
from segkit.labels import enlarged, labels_from_logits, winners
from segkit.log import log
from segkit.plan import ABDOMINAL_ORGANS, Intensity, Plan
from segkit.profile import Profile
from segkit.resample import Shape, affordable_shape, grid_shape, linear_taps, resample_image
from segkit.windows import Box, fitted_tile, run_tiles

Windows = Literal["all", "centre_first"]
LabelsAt = Literal["ct", "network"]


@dataclass(frozen=True)
class Settings:
    """How a volume is run; none of this changes the model.

    The defaults are the model's own tiles, half overlapping: the exact path. docs/speed.md has the cost and
    the gain of each setting.

    Attributes:
        step: Largest distance of neighbouring tiles as a fraction of the tile.
        tile_voxels: Tiles are widened up to this many voxels, so that few cover the body; 0 leaves them
            as the model has them. They overlap by as many voxels as before. Instance normalisation then
            sees more of the patient at once, which changes its statistics.
        crop_to_body: Leave the air around the patient out of the volume.
        skip_air_tiles: Do not run tiles that hold no part of the body.
        mirror_axes: Axes (0 is z) along which each tile is also run mirrored, in all combinations, and
            the logits averaged: one axis doubles the time, three take eight times as long. Only for
            models that were trained on mirrored volumes.
        windows: "all" tiles are run, or, "centre_first", from the middle of each plane outwards as far as
            organs lead (`segkit.centre_first`). For models of organs: a lesion that touches no organ may
            lie in a tile that nothing led to.
        labels_at: Where the arg-max is taken: on the grid of the "ct", to which logits are interpolated,
            or on that of the "network", from which the label map is enlarged by the nearest voxel.
        largest_parts: Keep only the largest connected part of each of the abdominal organs, on the network's
            grid. Lesions, of which there may be several, stay. An organ whose largest part is the false one
            is lost.
        logits_limit_bytes: Most memory for the sums of logits. A volume that would need more (its
            header claims metres of patient) is run on a coarser grid.
    """

    step: float = 0.5
    tile_voxels: int = 0
    crop_to_body: bool = True
    skip_air_tiles: bool = True
    mirror_axes: tuple[int, ...] = ()
    windows: Windows = "all"
    labels_at: LabelsAt = "ct"
    largest_parts: bool = False
    logits_limit_bytes: int = 2 * 2**30

    def __post_init__(self) -> None:
        for name, choices in (("windows", get_args(Windows)), ("labels_at", get_args(LabelsAt))):
            if getattr(self, name) not in choices:
                raise SegkitError(f"{name} is {getattr(self, name)!r}; it must be {' or '.join(choices)}.")


class Segmenter:
    """A model ready to segment one CT after another."""

    def __init__(
        self,
        plan: Plan,
        engine: Engine,
        settings: Settings | None = None,
        *,
        leave_out: Sequence[int] = (),
        on_tile: Callable[[int, int], None] = lambda done, total: None,
        profile: Profile | None = None,
    ):
        """Make a model ready.

        Args:
            plan: The model's plan.
            engine: Runs the model's network.
            settings: How to run it; the defaults if None.
            leave_out: Labels that are never predicted; their voxels go to the runner-up.
            on_tile: Told after each tile how many are done and how many there are.
            profile: Takes the time of each stage.
        """
        self.plan = plan
        self.engine = engine
        self.settings = settings or Settings()
        self.leave_out = tuple(leave_out)
        self.on_tile = on_tile
        self.profile = profile or Profile()

    def segment(self, ct: CT) -> np.ndarray:
        """The label map of a CT.

        Args:
            ct: In canonical orientation, as `read_ct` gives it.

        Returns:
            uint8 array of the CT's shape; all zero where no body is found.
        """
        labels = np.zeros(ct.array.shape, dtype=np.uint8)
        array, target, spacing_mm = ct.laid_out(labels, self.plan.orientation)
        with self.profile.stage("find body"):
            body = find_body(array, spacing_mm)
        if body is None:
            return labels
        z, y, x = (slice(0, size) for size in array.shape)
        box = body.box if self.settings.crop_to_body else (z, y, x)
        if self.settings.labels_at == "ct":
            logits = self._logits(array[box], spacing_mm, body, box)
            if self.settings.largest_parts:
                with self.profile.stage("largest parts"):
                    drop_side_parts(logits, winners(logits, self.leave_out), self._organs())
            with self.profile.stage("labels"):
                labels_from_logits(logits, target[box], self.leave_out)
        else:
            small = self._labels_of_network(array[box], spacing_mm, body, box)
            with self.profile.stage("labels"):
                enlarged(small, target[box])
        return labels

    def _labels_of_network(
        self, array: np.ndarray, spacing_mm: Sequence[float], body: Body, box: Box
    ) -> np.ndarray:
        """The arg-max on the network's grid; the logits are let go before labels are enlarged."""
        logits = self._logits(array, spacing_mm, body, box)
        with self.profile.stage("labels"):
            labels = winners(logits, self.leave_out)
        if self.settings.largest_parts:
            with self.profile.stage("largest parts"):
                labels[beside_largest_parts(only(labels, self._organs()))] = 0
        return labels

    def _organs(self) -> list[int]:
        """The labels that are one connected organ."""
        return [value for value, name in enumerate(self.plan.labels) if name in ABDOMINAL_ORGANS]

    def _logits(self, array: np.ndarray, spacing_mm: Sequence[float], body: Body, box: Box) -> np.ndarray:
        shape = grid_in_memory(
            grid_shape(array.shape, spacing_mm, self.plan.spacing_mm),
            self.plan.patch,
            self.plan.network.channels_out,
            self.settings.logits_limit_bytes,
        )
        inside = _body_on_grid(body, box, shape)
        with self.profile.stage("resample"):
            image = resample_image(array, shape, normaliser(self.plan.intensity))
        tile, step = fitted_tile(
            shape,
            self.plan.patch,
            self.plan.network.divisor,
            self.settings.tile_voxels,
            self.settings.step,
        )
        run = run_tiles
        if self.settings.windows == "centre_first":
            box_ml = float(np.prod(array.shape) * np.prod(spacing_mm)) / 1000
            run = partial(run_centre_first, voxel_ml=box_ml / float(np.prod(shape)))
        with self.profile.stage("network"):
            return run(
                image,
                classes=self.plan.network.channels_out,
                tile=tile,
                step=step,
                logits_of=mirrored(self.engine.logits, self.settings.mirror_axes),
                worth_looking=lambda tile: not self.settings.skip_air_tiles or bool(inside[tile].any()),
                on_tile=self.on_tile,
            )


def grid_in_memory(wanted: Shape, tile: Shape, classes: int, limit_bytes: int) -> Shape:
    """The grid wanted, or a coarser one where the sums of logits would need too much memory; it is said.

    Args:
        wanted: The network's grid (z, y, x).
        tile: The network's tile; smaller grids are padded to it.
        classes: Outputs of the network.
        limit_bytes: Most memory.
    """
    # The image and the sum of weights are kept beside the classes, all in float32.
    shape = affordable_shape(wanted, tile, limit_bytes / (4 * (classes + 2)))
    if shape != wanted:
        log.warning(f"a grid of {wanted} needs too much memory; running a coarser one of {shape}")
    return shape


def mirrored(
    logits_of: Callable[[np.ndarray], np.ndarray], axes: Sequence[int]
) -> Callable[[np.ndarray], np.ndarray]:
    """The mean of a network's logits over a tile and its mirror images along `axes`."""
    flips = [flip for count in range(len(axes) + 1) for flip in itertools.combinations(axes, count)]

    def mean_logits(tile: np.ndarray) -> np.ndarray:
        total = np.zeros(1, dtype=np.float32)
        for flip in flips:
            logits = logits_of(np.flip(tile, flip))
            total = total + np.flip(logits, tuple(axis + 1 for axis in flip))
        return total / np.float32(len(flips))

    return mean_logits if axes else logits_of


def normaliser(intensity: Intensity) -> Callable[[np.ndarray], np.ndarray]:
    """The function that turns Hounsfield units into the network's intensities, float32."""

    def normalised(array: np.ndarray) -> np.ndarray:
        clipped = np.clip(array.astype(np.float32), intensity.clip_low_hu, intensity.clip_high_hu)
        clipped -= np.float32(intensity.mean_hu)
        clipped /= np.float32(max(intensity.std_hu, 1e-8))
        return clipped

    return normalised


def _body_on_grid(body: Body, box: Box, shape: tuple[int, int, int]) -> np.ndarray:
    """The body's mask on the network's grid, by the nearest voxel."""
    index = []
    for axis in range(3):
        size_in = box[axis].stop - box[axis].start
        lower, upper, weight = linear_taps(size_in, shape[axis])
        nearest = box[axis].start + np.where(weight < 0.5, lower, upper)
        index.append(np.minimum(nearest // body.step[axis], body.mask.shape[axis] - 1))
    return body.mask[np.ix_(*index)]
