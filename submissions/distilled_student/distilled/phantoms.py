"""The teacher as `segkit.training.phantoms` trains it: slices of phantoms, the tumour against the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from segkit.plan import Intensity
from segkit.training.phantoms.trainee import State, Trainee

from distilled.attention_unet import AttentionUNet2d
from distilled.teacher_plan import TeacherPlan, load_network, network_of, write_teacher

TUMOUR = 14


def teacher(recipe: Mapping[str, Any]) -> Trainee:
    """The attention network on single slices."""
    plan = TeacherPlan(
        spacing_mm=tuple(recipe["spacing_mm"][1:]),
        patch=tuple(recipe.get("tile", recipe["patch"])[1:]),
        intensity=Intensity(**recipe["window"]),
        labels=("background", "tumour"),
        network=recipe["network"],
    )

    def save(folder: Path, state: State, source: dict[str, str]) -> None:
        write_teacher(folder, TeacherPlan(**{**vars(plan), "source": source}), state)

    return Trainee(
        network=network_of(plan).apply(AttentionUNet2d.initialize),
        logits=_logits,
        labels=plan.labels,
        outputs=tuple(int(label == TUMOUR) for label in range(15)),
        save=save,
        load=lambda folder: load_network(folder)[1].state_dict(),
    )


def _logits(network: AttentionUNet2d, images: torch.Tensor) -> list[torch.Tensor]:
    """Logits of every level of slices (batch, 1, 1, y, x), each with the axis z of one voxel."""
    network.decoder.deep_supervision = True
    return [level[:, :, None] for level in network(images[:, :, 0])]
