"""One CT through both phases."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from segkit.body import find_body
from segkit.components import drop_side_parts
from segkit.engine import Engine
from segkit.image import CT
from segkit.labels import labels_from_logits, winners
from segkit.predict import grid_in_memory
from segkit.profile import Profile
from segkit.resample import grid_shape
from segkit.windows import run_tiles

from cascade.plan import CascadePlan
from cascade.preprocess import network_image, scaling_for
from cascade.region import Region, find_region


@dataclass(frozen=True)
class CascadeSettings:
    """How a volume is run; none of this changes the networks.

    Attributes:
        largest_parts: Keep only the largest connected part of each organ.
        logits_limit_bytes: Most memory for the sums of logits. A region that would need more (its
            header claims metres of patient) is run on a coarser grid.
    """

    largest_parts: bool = True
    logits_limit_bytes: int = 3 * 2**29


@dataclass(frozen=True)
class Cascade:
    """Both trained phases, ready to segment one CT after another.

    Attributes:
        plan: What the networks were trained for.
        location: Runs the location network on a tile of `plan.location.size`.
        organs: Runs the hybrid network on a tile of `plan.organs.patch`.
        settings: How they are run.
        profile: Told how long each stage takes.
    """

    plan: CascadePlan
    location: Engine
    organs: Engine
    settings: CascadeSettings = CascadeSettings()
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
        if self.settings.largest_parts:
            with self.profile.stage("largest parts"):
                drop_side_parts(logits, winners(logits), range(1, len(logits)))
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
        shape = grid_in_memory(
            grid_shape(part.shape, ct.spacing_mm, plan.spacing_mm),
            plan.patch,
            len(self.plan.labels),
            self.settings.logits_limit_bytes,
        )
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
