"""Drawing training samples from prepared cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cascade.train.cases import Case, patch_at
from cascade.train.schedule import Schedule

Sample = tuple[torch.Tensor, torch.Tensor]


class Sampler:
    """Draws batches; everything random comes from one generator.

    Args:
        cases: The training cases.
        schedule: Batch, sampling and augmentation.
        patch: Size of a patch (z, y, x); the whole volume if None.
        seed: Of the generator.
    """

    def __init__(
        self, cases: Sequence[Case], schedule: Schedule, patch: tuple[int, int, int] | None, seed: int
    ):
        self.cases = cases
        self.schedule = schedule
        self.patch = patch
        self.random = torch.Generator().manual_seed(seed)
        self.places = [case.places() for case in cases] if patch else []

    def batch(self) -> Sample:
        """Images (batch * crops, 1, z, y, x), float32, and labels (batch * crops, z, y, x), int64."""
        samples = [
            self._sample(number)
            for number in (self._below(len(self.cases)) for _ in range(self.schedule.batch))
            for _ in range(self.schedule.crops)
        ]
        images, labels = zip(*samples, strict=True)
        return torch.stack(images)[:, None], torch.stack(labels).long()

    def _sample(self, number: int) -> Sample:
        case = self.cases[number]
        if self.patch is None:
            image, labels = np.array(case.image(), dtype=np.float32), np.array(case.labels())
        else:
            centre = self._centre(number, case.labels().shape)
            image = patch_at(case.image(), centre, self.patch, 0.0).astype(np.float32)
            labels = patch_at(case.labels(), centre, self.patch, 0)
        return self.schedule.augmentation(torch.from_numpy(image), torch.from_numpy(labels), self.random)

    def _centre(self, number: int, shape: tuple[int, ...]) -> np.ndarray:
        if torch.rand((), generator=self.random) >= self.schedule.foreground:
            return np.array([self._below(size) for size in shape])
        places, counts = self.places[number]
        organs = [label for label in places if label > 0]
        if not organs:
            return np.array([self._below(size) for size in shape])
        weights = torch.tensor([1.0 if self.schedule.by_label else float(counts[label]) for label in organs])
        found = places[organs[int(torch.multinomial(weights, 1, generator=self.random))]]
        wander = (2 * torch.rand(3, generator=self.random).numpy() - 1) * self.schedule.wander
        return (found[self._below(len(found))] + wander * np.array(self.patch)).astype(np.int64)

    def _below(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.random))


def fixed_samples(
    cases: Sequence[Case], patch: tuple[int, int, int] | None, per_case: int
) -> list[tuple[int, np.ndarray | None]]:
    """What a validation looks at: numbers of cases, and the centres of patches, the same each time.

    Args:
        cases: The held-out cases.
        patch: Size of a patch; whole volumes if None.
        per_case: Patches per case; their centres go through the organs in turn.
    """
    if patch is None:
        return [(number, None) for number in range(len(cases))]
    chosen: list[tuple[int, np.ndarray | None]] = []
    random = np.random.default_rng(0)
    for number, case in enumerate(cases):
        places, _ = case.places()
        organs = [label for label in places if label > 0]
        if not organs:  # a case whose only label is a lesion's
            chosen.extend((number, random.integers(case.labels().shape)) for _ in range(per_case))
            continue
        # Another case begins with another organ, so that few patches a case still see them all.
        for turn in range(per_case):
            found = places[organs[(number * per_case + turn) % len(organs)]]
            chosen.append((number, found[random.integers(len(found))].astype(np.int64)))
    return chosen
