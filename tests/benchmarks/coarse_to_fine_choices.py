"""What the choices of coarse_to_fine change: averages of tiles, coordinates, slabs.

    python tests/benchmarks/coarse_to_fine_choices.py MODEL --data DIR

MODEL holds the compiled networks (`python -m coarse_to_fine.export weights MODEL`), DIR has imagesVal and
labelsVal. Dice is the mean over organs that a reference holds and over cases, of the organ model alone and
without the rule of largest parts, so that nothing but the choice differs. Changed voxels are counted against
the way that is named, among those that either of two maps marks. Time is the processor's, relative to the
first row.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from coarse_to_fine.model import open_models
from coarse_to_fine.pipeline import CoarseToFine, CoarseToFineSettings
from coarse_to_fine.plan import COARSE, ORGANS, load_plan
from segkit.image import CT, read_ct, read_labels
from segkit.int8 import dice_per_label
from segkit.labels import labels_from_logits
from torch.nn import functional

Enlarge = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]
TUMOUR = 14
GAUSSIAN = "Gaussian logits, exact coordinates"
EQUAL = "probabilities with equal weights"
ALIGNED = "probabilities, aligned corners"


def exact(scores: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The method's way: half-pixel centres, all slices from one grid."""
    labels = np.empty(shape, dtype=np.uint8)
    labels_from_logits(scores, labels)
    return labels


def aligned(slabs: int) -> Enlarge:
    """The source's way: corners aligned, each slab of slices by itself."""

    def enlarge(scores: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        parts = np.array_split(np.arange(scores.shape[1]), slabs)
        ends = [round(shape[0] * (part[-1] + 1) / scores.shape[1]) for part in parts]
        made, first = [], 0
        for part, last in zip(parts, ends, strict=True):
            slab = torch.from_numpy(np.ascontiguousarray(scores[:, part]))[None]
            size = (last - first, *shape[1:])
            resized = functional.interpolate(slab, size, mode="trilinear", align_corners=True)[0]
            made.append(resized.max(dim=0).indices.numpy().astype(np.uint8))
            first = last
        return np.concatenate(made)

    return enlarge


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--slabs", type=int, default=3, help="slabs of the source's way (it has 1 to 4)")
    options = parser.parse_args()
    plan = load_plan(options.model)
    models = open_models(options.model, plan, [COARSE, ORGANS], "f32")
    gaussian = CoarseToFine(plan, models, CoarseToFineSettings())
    equal = CoarseToFine(plan, models, CoarseToFineSettings(averaging="probabilities"))
    wide = CoarseToFine(plan, models, replace(gaussian.settings, step=0.8))
    # Each way, and the one it is compared with: they differ in one thing.
    ways: dict[str, tuple[CoarseToFine, Enlarge, str]] = {
        GAUSSIAN: (gaussian, exact, GAUSSIAN),
        "step 0.8": (wide, exact, GAUSSIAN),
        EQUAL: (equal, exact, GAUSSIAN),
        ALIGNED: (equal, aligned(1), EQUAL),
        f"the same in {options.slabs} slabs": (equal, aligned(options.slabs), ALIGNED),
    }
    dice: dict[str, list[float]] = {name: [] for name in ways}
    cpu_s = dict.fromkeys(ways, 0.0)
    changed = dict.fromkeys(ways, 0)
    marked = dict.fromkeys(ways, 0)
    for path in sorted((options.data / "imagesVal").glob("*_0000.nii.gz")):
        ct = read_ct(path)
        reference = options.data / "labelsVal" / path.name.replace("_0000", "")
        labels = ct.orientation.to_canonical(read_labels(reference))
        maps: dict[str, np.ndarray] = {}
        for name, (method, enlarge, other) in ways.items():
            began = time.process_time()
            maps[name] = found = organs(method, enlarge, ct)
            cpu_s[name] += time.process_time() - began
            changed[name] += int((found != maps[other]).sum())
            marked[name] += int(((found > 0) | (maps[other] > 0)).sum())
            dice[name] += dice_per_label(found, np.where(labels == TUMOUR, 0, labels))
    base = next(iter(cpu_s.values()))
    print("| way | Dice | voxels changed | against | processor time |\n|---|---|---|---|---|")
    for name, (_, _, other) in ways.items():
        share = f"{100 * changed[name] / max(1, marked[name]):.2f} %" if other != name else ""
        against = other if other != name else ""
        print(f"| {name} | {np.mean(dice[name]):.4f} | {share} | {against} | {cpu_s[name] / base:.2f} |")


def organs(method: CoarseToFine, enlarge: Enlarge, ct: CT) -> np.ndarray:
    """The organ model's label map of a CT."""
    labels = np.zeros(ct.array.shape, dtype=np.uint8)
    box = method.locate(ct)
    if box is not None:
        labels[box] = enlarge(method.scores(ct, box, method.models[ORGANS]), labels[box].shape)
    return labels


if __name__ == "__main__":
    main()
