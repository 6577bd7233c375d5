"""The method on phantoms: who annotates what, the teacher as a trainee, and fused labels of both models.

Phantoms know every label. Each is given the annotations of a set that is pooled from several sources, as
`harness data phantom --partial` writes it, and the models see no more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segkit.model import load_model
from segkit.partial.rules import fuse
from segkit.partial.values import ORGANS, TUMOUR
from segkit.plan import Intensity
from segkit.resample import grid_shape, resample_image
from segkit.torch_engine import TorchEngine
from segkit.training.phantoms.intensity import blurred, noise
from segkit.training.phantoms.store import ENDING, Volume, write_volume
from segkit.training.phantoms.trainee import State, Trainee
from segkit.windows import run_tiles
from torch.nn import functional

from distilled.attention_unet import AttentionUNet2d
from distilled.teacher_plan import TeacherPlan, load_network, network_of, write_teacher

Triple = tuple[int, int, int]
Run = Callable[[np.ndarray], np.ndarray]
SLICES = 8
"""Slices that go through the teacher together."""

SMALLEST_SD = 1e-8


@dataclass(frozen=True)
class Grid:
    """What a model works on: voxels (z, y, x) in mm, normalised, and how many classes come out."""

    spacing_mm: tuple[float, float, float]
    intensity: Intensity
    classes: int


def annotated(volume: Volume) -> tuple[int, ...]:
    """The label values that a phantom annotates, drawn from its seed and number."""
    from harness.data.phantom.partial import annotation

    return annotation(seed=int(volume.facts["seed"]), index=int(volume.facts["index"]), split="Tr")[1]


def annotates_organs(volume: Volume) -> bool:
    """Whether the organ model may learn from a phantom."""
    return frozenset(annotated(volume)) >= ORGANS


def annotates_tumour(volume: Volume) -> bool:
    """Whether the teacher may learn from a phantom."""
    return TUMOUR in annotated(volume)


def fuse_store(
    volumes: Sequence[Volume],
    *,
    organs: Path,
    teacher: Path,
    out: Path,
    seed: int,
    device: torch.device,
    coarser: float = 1.0,
) -> None:
    """Write phantoms with fused labels: their annotation, and what both models say where it is silent.

    The models see each phantom once, through a scanner. A phantom that is there already stays.

    Args:
        volumes: The phantoms, with all their labels.
        organs: The organ model's folder.
        teacher: The teacher's folder.
        out: The store to write.
        seed: Of the scanner's noise.
        device: Where the models run.
        coarser: Factor on the voxels of both models' grids; above 1 for a rehearsal that need not see well.
    """
    out.mkdir(parents=True, exist_ok=True)
    organ_plan, organ_network = load_model(organs)
    teacher_plan, teacher_network = load_network(teacher)
    organ_engine = TorchEngine(organ_network, device=device.type)
    tumour_engine = TorchEngine(teacher_network, device=device.type)

    in_slice = teacher_plan.spacing_mm

    def of_slices(window: np.ndarray) -> np.ndarray:
        logits = tumour_engine.batch(window[:, None])
        return logits.transpose(1, 0, 2, 3)

    for number, volume in enumerate(volumes):
        path = out / f"{volume.name}{ENDING}"
        if path.exists():
            continue
        hu = scanned(volume.on(torch.device("cpu")), seed=seed + number)
        known = annotated(volume)
        truth = volume.labels.cpu().numpy()
        organ_map = _labelled(
            hu,
            volume.spacing_mm,
            Grid(_coarser(organ_plan.spacing_mm, coarser), organ_plan.intensity, len(organ_plan.labels)),
            organ_plan.patch,
            organ_engine.logits,
        )
        organ_map[organ_map == TUMOUR] = 0
        tumour_map = _labelled(
            hu,
            volume.spacing_mm,
            Grid(
                (volume.spacing_mm[0], coarser * in_slice[0], coarser * in_slice[1]),
                teacher_plan.intensity,
                2,
            ),
            (SLICES, *teacher_plan.patch),
            of_slices,
        )
        shown = np.where(np.isin(truth, known), truth, 0).astype(np.uint8)
        fused = fuse(truth.shape, shown if known else None, known, organ_map, tumour_map)
        write_volume(
            path, volume.hu.cpu().numpy(), fused.labels, volume.spacing_mm, kind="phantom", facts=volume.facts
        )


def _coarser(spacing_mm: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    z, y, x = spacing_mm
    return factor * z, factor * y, factor * x


def scanned(volume: Volume, seed: int) -> np.ndarray:
    """Hounsfield units (z, y, x) of a phantom through a scanner: blur and noise."""
    draw, random = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    image = blurred(volume.hu.float(), (0.4, 0.5, 0.5))
    image = image + noise(tuple(image.shape), float(draw.uniform(5, 25)), 0.4, random)
    return image.numpy()


def _labelled(
    hu: np.ndarray, spacing_mm: Sequence[float], grid: Grid, tile: Triple, logits_of: Run
) -> np.ndarray:
    """The arg-max on a network's grid, enlarged to the volume's by the nearest voxel; uint8."""
    shape = grid_shape(hu.shape, spacing_mm, grid.spacing_mm)
    window = grid.intensity

    def normalised(part: np.ndarray) -> np.ndarray:
        clipped = np.clip(part.astype(np.float32), window.clip_low_hu, window.clip_high_hu)
        return (clipped - np.float32(window.mean_hu)) / np.float32(max(window.std_hu, SMALLEST_SD))

    logits = run_tiles(
        resample_image(hu, shape, normalised),
        classes=grid.classes,
        tile=tile,
        step=0.8,
        logits_of=logits_of,
        worth_looking=lambda _: True,
    )
    small = torch.from_numpy(logits).max(dim=0).indices.to(torch.uint8)
    return (
        functional.interpolate(small[None, None].float(), size=hu.shape, mode="nearest-exact")[0, 0]
        .byte()
        .numpy()
    )


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
