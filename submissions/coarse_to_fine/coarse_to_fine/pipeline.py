"""One CT through the three stages: where is the abdomen, what in it is tumour, what is which organ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import numpy as np
from segkit.body import find_body
from segkit.components import drop_side_parts
from segkit.engine import Engine
from segkit.errors import SegkitError
from segkit.image import CT
from segkit.labels import labels_from_logits, winners
from segkit.plan import Plan
from segkit.predict import grid_in_memory, normaliser
from segkit.profile import Profile
from segkit.region import box_around
from segkit.resample import Shape, grid_shape, resample_image
from segkit.windows import Box, run_tiles

from coarse_to_fine.cleaning import cleaned
from coarse_to_fine.plan import COARSE, ORGANS, MethodPlan

Averaging = Literal["logits", "probabilities"]
TUMOUR = "tumour"


@dataclass(frozen=True)
class CoarseToFineSettings:
    """How a volume is run; none of this changes the networks.

    Attributes:
        step: Largest distance of neighbouring tiles of the fine stages as a fraction of the tile.
        averaging: What is averaged where tiles overlap: "logits", weighted by a Gaussian, or, as published,
            "probabilities" with equal weights, of which those below the plan's lowest count as 0.
        logits_limit_bytes: Most memory for the sums of a stage. A volume that would need more (its header
            claims metres of patient) is run on a coarser grid.
    """

    step: float = 0.5
    averaging: Averaging = "logits"
    logits_limit_bytes: int = 3 * 2**29

    def __post_init__(self) -> None:
        if self.averaging not in get_args(Averaging):
            raise SegkitError(
                f"averaging is {self.averaging!r}; it must be {' or '.join(get_args(Averaging))}."
            )


@dataclass(frozen=True)
class Model:
    """A trained network, ready to run.

    Attributes:
        plan: Its grid, intensities and labels.
        engine: Runs it on a tile.
    """

    plan: Plan
    engine: Engine


@dataclass(frozen=True)
class CoarseToFine:
    """All stages, ready to segment one CT after another.

    Attributes:
        plan: The rules.
        models: By folder name; tumour models may be missing, and no tumour is looked for then.
        settings: How they are run.
        profile: Told how long each stage takes.
    """

    plan: MethodPlan
    models: Mapping[str, Model]
    settings: CoarseToFineSettings = CoarseToFineSettings()
    profile: Profile = field(default_factory=Profile)

    def segment(self, ct: CT) -> np.ndarray:
        """The label map of a CT.

        Args:
            ct: In canonical orientation, as `read_ct` gives it.

        Returns:
            uint8 array of the CT's shape; all zero where there is only air, or the coarse model finds
            nothing. Nothing outside the box of the organs is ever marked: a tumour there cannot be found.
            The tumour's value is the one after the organs'.
        """
        labels = np.zeros(ct.array.shape, dtype=np.uint8)
        with self.profile.stage("coarse"):
            box = self.locate(ct)
        if box is None:
            return labels
        tumour = self.tumour_in(ct, box)
        here = labels[box]
        scores = self.scores(ct, box, self.models[ORGANS])
        with self.profile.stage("largest parts"):
            drop_side_parts(scores, winners(scores), self.plan.single)
        with self.profile.stage("labels"):
            labels_from_logits(scores, here)
            here[tumour] = len(self.models[ORGANS].plan.labels)
        return labels

    def locate(self, ct: CT) -> Box | None:
        """The box in which the other stages look, slices (z, y, x) of the CT; None where there is nothing."""
        body = find_body(ct.array, ct.spacing_mm)
        if body is None:
            return None
        model, rules = self.models[COARSE], self.plan.coarse
        part = ct.array[body.box]
        scores = self._run(part, ct.spacing_mm, model, rules.step)
        kept = cleaned(winners(scores), rules, self.plan.single)
        inner = box_around(kept > 0, part.shape, ct.spacing_mm, rules.margin_mm)
        return None if inner is None else _inside(body.box, inner)

    def tumour_in(self, ct: CT, box: Box) -> np.ndarray:
        """Mask (z, y, x) of the box: what any of the tumour models calls tumour."""
        shape = ct.array[box].shape
        found = np.zeros(shape, dtype=bool)
        for name in self.plan.tumours:
            if name not in self.models:
                continue
            model = self.models[name]
            value = model.plan.labels.index(TUMOUR)
            scores = self.scores(ct, box, model)
            # Where it is nowhere better than the background at a voxel of the grid, it is so between them.
            if not (scores[value] > scores[0]).any():
                continue
            with self.profile.stage("labels"):
                marked = np.empty(shape, dtype=np.uint8)
                labels_from_logits(scores, marked)
                found |= marked == value
        return found

    def scores(self, ct: CT, box: Box, model: Model) -> np.ndarray:
        """What a fine model says of a box, (class, z, y, x) on its grid, float32; the largest score wins."""
        with self.profile.stage("fine models"):
            return self._run(ct.array[box], ct.spacing_mm, model, self.settings.step)

    def _run(self, array: np.ndarray, spacing_mm: tuple[float, ...], model: Model, step: float) -> np.ndarray:
        plan = model.plan
        classes = len(plan.labels)
        shape = grid_in_memory(
            shrunk(grid_shape(array.shape, spacing_mm, plan.spacing_mm), self.plan.largest_plane),
            plan.patch,
            classes,
            self.settings.logits_limit_bytes,
        )
        image = resample_image(array, shape, normaliser(plan.intensity))
        run = partial(
            run_tiles, image, classes=classes, tile=plan.patch, step=step, worth_looking=lambda tile: True
        )
        if self.settings.averaging == "logits":
            return run(logits_of=model.engine.logits)
        mean = run(
            logits_of=lambda tile: softmax(model.engine.logits(tile)),
            weights=np.ones(plan.patch, dtype=np.float32),
        )
        mean[mean < self.plan.lowest_probability] = 0
        return mean


def shrunk(shape: Shape, largest_plane: int) -> Shape:
    """A grid whose planes have at most so many voxels along an axis, shrunk by one factor on all axes."""
    factor = largest_plane / max(shape[1:])
    if factor >= 1:
        return shape
    z, y, x = (max(1, int(size * factor)) for size in shape)
    return z, y, x


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (class, ...), float32, of logits; these are overwritten."""
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits


def _inside(outer: Box, inner: Box) -> Box:
    """Slices of a part of a CT as slices of the CT."""
    z, y, x = (
        slice(whole.start + part.start, whole.start + part.stop)
        for whole, part in zip(outer, inner, strict=True)
    )
    return z, y, x
