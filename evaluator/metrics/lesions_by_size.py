"""Small, medium and large reference lesions: how many were found and missed, recall and F1 of each size.

The rules name the two volumes between the sizes, and the Dice that a match must reach. A false lesion has no
reference lesion whose size it could have: as in BraTS-evaluation, F1 of each size counts them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions

SIZES = ("small", "medium", "large")
_Direction = Literal["higher", "lower"]


def recall_of_size(lesions: Lesions, *, size: int) -> float:
    """Return the share of the reference lesions of one size that were found; NaN if there are none."""
    found, missed = _counts(lesions, size)
    return found / (found + missed) if found + missed else math.nan


def f1_of_size(lesions: Lesions, *, size: int) -> float:
    """Return F1 of one size, with all false lesions; NaN if the reference has no lesion of that size."""
    found, missed = _counts(lesions, size)
    return 2 * found / (2 * found + missed + len(lesions.false)) if found + missed else math.nan


def found_of_size(lesions: Lesions, *, size: int) -> float:
    """Return how many reference lesions of one size were found; NaN if there are none."""
    found, missed = _counts(lesions, size)
    return found if found + missed else math.nan


def missed_of_size(lesions: Lesions, *, size: int) -> float:
    """Return how many reference lesions of one size were missed; NaN if there are none."""
    found, missed = _counts(lesions, size)
    return missed if found + missed else math.nan


def _counts(lesions: Lesions, size: int) -> tuple[int, int]:
    """Return how many of one size were found and missed; one of exactly a limit belongs to the larger."""
    limits = (0.0, *lesions.rules.size_limits_ml, math.inf)
    volumes = {
        number: int(lesions.reference.voxels[number]) * lesions.voxel_mm3 / 1000 for number in lesions.counted
    }
    chosen = {number for number, ml in volumes.items() if limits[size] <= ml < limits[size + 1]}
    least = lesions.rules.least_dice_by_size
    found = sum(lesions.dice(number) >= least for number in chosen.intersection(lesions.found))
    return found, len(chosen) - found


def _of_each_size(
    stem: str, title: str, direction: _Direction, compute: Callable[..., float], *, is_share: bool
) -> tuple[Metric, ...]:
    worst = 0.0 if direction == "higher" else math.inf
    return tuple(
        Metric(
            facts=MetricFacts(
                key=f"{stem}_{name}",
                title=title.format(name),
                direction=direction,
                failed=worst,
                percent=is_share,
                decimals=2 if is_share else 0,
            ),
            needs=("lesions",),
            compute=partial(compute, size=size),
            empty=EmptyRule(both=math.nan, reference=math.nan, prediction="computed"),
            always=True,
        )
        for size, name in enumerate(SIZES)
    )


METRICS = (
    *_of_each_size("lesion_recall", "Recall of {} lesions", "higher", recall_of_size, is_share=True),
    *_of_each_size("lesion_f1", "F1 of {} lesions", "higher", f1_of_size, is_share=True),
    *_of_each_size("lesion_tp", "Lesions found, {}", "higher", found_of_size, is_share=False),
    *_of_each_size("lesion_fn", "Lesions missed, {}", "lower", missed_of_size, is_share=False),
)
