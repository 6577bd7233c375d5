"""One CT through both phases."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from segkit.body import find_body
from segkit.components import drop_side_parts
from segkit.engine import Engine
from segkit.image import CT
from segkit.labels import labels_from_logits
from segkit.profile import Profile, say
from segkit.resample import Shape, grid_shape
from segkit.windows import run_tiles

from cascade.plan import CascadePlan
from cascade.preprocess import network_image, scaling_for
from cascade.region import Region, find_region

_LOGITS_LIMIT_BYTES = 3 * 2**29


@dataclass(frozen=True)
class Cascade:
    """Both trained phases, ready to segment one CT after another.

    Attributes:
        plan: What the networks were trained for.
        location: Runs the location network on a tile of `plan.location.size`.
        organs: Runs the hybrid network on a tile of `plan.organs.patch`.
        logits_limit_bytes: Most memory for the sums of logits. A region that would need more (its
            header claims metres of patient) is run on a coarser grid.
        largest_parts: Keep only the largest connected part of each organ.
        profile: Told how long each stage takes.
    """

    plan: CascadePlan
    location: Engine
    organs: Engine
    logits_limit_bytes: int = _LOGITS_LIMIT_BYTES
    largest_parts: bool = True
    profile: Profile = field(default_factory=Profile)

    def segment(self, ct: CT) -> np.ndarray:
        """The label map of a CT.

        Args:
            ct: In canonical orientation, as `read_ct` gives it.

        Returns:
            uint8 array of the CT's shape; all zero where there is only air, or phase 1 finds nothing.
        """
        labels = np.zeros(ct.array.shape, dtype=np.uint8)
        if find_body(ct.array, ct.spacing_mm) is None:
            return labels
        with self.profile.stage("phase 1"):
            region = self.locate(ct)
        if region is None:
            return labels
        logits = self.organ_logits(ct, region)
        if self.largest_parts:
            with self.profile.stage("largest parts"):
                drop_side_parts(logits, best_labels(logits), range(1, len(logits)))
        with self.profile.stage("labels"):
            labels_from_logits(logits, labels[region.box])
        return labels

    def locate(self, ct: CT) -> Region | None:
        """Phase 1: the region of the organs, or None."""
        scaling = scaling_for(ct.array, self.plan.location.window)
        logits = self.location.logits(network_image(ct.array, self.plan.location.size, scaling))
        return find_region(
            logits[1] > logits[0],
            ct.array.shape,
            ct.spacing_mm,
            smallest_part_ml=self.plan.location.smallest_part_ml,
            margin_mm=self.plan.organs.margin_mm,
        )

    def organ_logits(self, ct: CT, region: Region) -> np.ndarray:
        """Phase 2: logits (class, z, y, x), float32, of the region's box on the network's grid.

        Tiles that hold nothing of the region are not run; their logits are zero, which is background.
        """
        plan = self.plan.organs
        part = ct.array[region.box]
        shape = self._affordable(grid_shape(part.shape, ct.spacing_mm, plan.spacing_mm))
        inside = region.on_grid(shape)
        with self.profile.stage("image for phase 2"):
            image = network_image(part, shape, scaling_for(ct.array, plan.window))
        with self.profile.stage("phase 2"):
            return run_tiles(
                image,
                classes=len(self.plan.labels),
                tile=plan.patch,
                step=plan.step,
                logits_of=self.organs.logits,
                worth_looking=lambda tile: bool(inside[tile].any()),
            )

    def _affordable(self, shape: Shape) -> Shape:
        patch = self.plan.organs.patch
        padded = [float(max(size, tile)) for size, tile in zip(shape, patch, strict=True)]
        # The image and the sum of weights are kept beside the classes.
        excess = np.prod(padded) * 4 * (len(self.plan.labels) + 2) / self.logits_limit_bytes
        if excess <= 1:
            return shape
        say(f"cascade: a grid of {shape} needs too much memory; running a coarser one")
        sizes = [
            size if size <= tile else max(tile, int(size / excess ** (1 / 3)))
            for size, tile in zip(shape, patch, strict=True)
        ]
        # One more round where some axes could not shrink; sides of a tile are always affordable.
        return self._affordable((sizes[0], sizes[1], sizes[2])) if sizes != list(shape) else shape


def best_labels(logits: np.ndarray) -> np.ndarray:
    """Arg-max over the classes as uint8, (z, y, x); of equal logits the lower class wins.

    A running maximum per slice: numpy's own arg-max over a leading axis is several times slower.
    """
    labels = np.zeros(logits.shape[1:], dtype=np.uint8)
    for z in range(logits.shape[1]):
        best = logits[0, z].copy()
        for label in range(1, logits.shape[0]):
            plane = logits[label, z]
            labels[z][plane > best] = label
            np.maximum(best, plane, out=best)
    return labels
