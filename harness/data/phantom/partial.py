"""Which labels a case of a partially annotated data set shows, as in a set pooled from several sources."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.phantom.case import SPLITS
from harness.data.phantom.patient import ORGANS, TUMOUR

GROUPS = ("everything", "some organs", "tumour", "nothing")
"""Each four patients in a row hold one of each group, in an order drawn from the seed."""

_FEWEST_ORGANS, _MOST_ORGANS = 3, 8
_STREAM = 8
"""Keeps these draws apart from those of the patients."""


def annotation(*, seed: int, index: int, split: str) -> tuple[str, tuple[int, ...]]:
    """Return the group of a case and the label values that its reference annotates, in order.

    Args:
        seed: Names the population.
        index: Which patient of it, from 1.
        split: `Tr`, `Val` or `Ts`.
    """
    block, place = divmod(index - 1, len(GROUPS))
    rng = np.random.default_rng(np.random.SeedSequence([seed, block, SPLITS[split], _STREAM]))
    group = GROUPS[int(rng.permutation(len(GROUPS))[place])]
    organs = sorted(ORGANS.values())
    count = int(rng.integers(_FEWEST_ORGANS, _MOST_ORGANS + 1))
    some = tuple(sorted(int(value) for value in rng.choice(organs, count, replace=False)))
    values = {"everything": (*organs, TUMOUR), "some organs": some, "tumour": (TUMOUR,), "nothing": ()}
    return group, values[group]


def show_only(label: NDArray[np.uint8], values: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a label volume in which everything but these values is background."""
    return np.where(np.isin(label, values), label, 0).astype(np.uint8)
