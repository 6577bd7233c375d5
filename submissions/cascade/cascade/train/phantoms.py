"""Both phases as `segkit.training.phantoms` trains them: from phantoms, without nnU-Net or SimpleITK."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segkit.plan import Intensity
from segkit.training.phantoms.trainee import State, Trainee

from cascade.model import build_network, load_network, save_phase
from cascade.plan import LABELS, CascadePlan, LocationPlan, OrgansPlan, load_plan


def location(recipe: Mapping[str, Any]) -> Trainee:
    """Phase 1: any organ against the rest, of the whole scan."""
    plan = CascadePlan(
        location=LocationPlan(
            size=tuple(recipe.get("tile", recipe["patch"])),
            smallest_part_ml=recipe["smallest_part_ml"],
            window=Intensity(**recipe["window"]),
        )
    )
    outputs = tuple(int(label > 0) for label in range(15))
    return _trainee(plan, "location", ("background", "organ"), outputs)


def organs(recipe: Mapping[str, Any]) -> Trainee:
    """Phase 2: the organs, in patches."""
    plan = CascadePlan(
        organs=OrgansPlan(
            spacing_mm=tuple(recipe["spacing_mm"]),
            patch=tuple(recipe.get("tile", recipe["patch"])),
            step=recipe["step"],
            margin_mm=recipe["margin_mm"],
            depths=tuple(recipe["depths"]),
            window=Intensity(**recipe["window"]),
        )
    )
    # A lesion is no organ here.
    outputs = tuple(label if label < len(LABELS) else 0 for label in range(15))
    return _trainee(plan, "organs", LABELS, outputs)


def _trainee(plan: CascadePlan, phase: str, labels: tuple[str, ...], outputs: tuple[int, ...]) -> Trainee:
    def save(folder: Path, state: State, source: dict[str, str]) -> None:
        network = build_network(plan, phase)
        network.load_state_dict(state)
        save_phase(folder, phase, plan, network, "; ".join(source.values()))

    return Trainee(
        network=build_network(plan, phase),
        logits=lambda network, images: [network(images)],
        labels=labels,
        outputs=outputs,
        save=save,
        load=lambda folder: load_network(folder, load_plan(folder), phase).state_dict(),
    )
