"""How far a mean over these cases can be trusted: bootstrap intervals of means and of paired differences.

The cases are drawn again with replacement, the same draws for every team and metric, so that differences of
teams are paired. Percentile intervals, and the bias-corrected and accelerated ones (BCa) of Efron, "Better
bootstrap confidence intervals", Journal of the American Statistical Association 82:171 (1987), which also
hold where the values are skewed, as scores near 100 % are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Floats = npt.NDArray[np.float64]
Ends = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Samples:
    """The draws of cases that intervals are made from, the same for every row.

    Attributes:
        counts: float64 (samples, cases), how often each holds each case.
        confidence: The share of them within an interval.
    """

    counts: Floats
    confidence: float


@dataclass(frozen=True)
class Estimate:
    """A mean over cases.

    Attributes:
        mean: The mean over the cases that count.
        n: How many count.
        percentile: The percentile interval's ends; None where it was not asked for or cannot be told, as of
            a single case or an infinite mean.
        bca: The ends of the BCa interval.
    """

    mean: float
    n: int
    percentile: Ends | None = None
    bca: Ends | None = None


def estimates(values: Floats, samples: Samples) -> list[Estimate | None]:
    """Estimate the mean of each column.

    Args:
        values: float64 (cases, columns); NaN where a case does not count.
        samples: The draws; none for no intervals.

    Returns:
        An estimate per column, None where no case counts.
    """
    by_column = np.ascontiguousarray(values.T)
    known = ~np.isnan(by_column)
    finite = np.where(known & np.isfinite(by_column), by_column, 0.0)
    sizes = _sizes(known, samples.counts)
    # The draws on the left: a product of few rows by many columns costs BLAS's threads ten times as much.
    sums = (samples.counts @ finite.T).T
    means = np.divide(sums, sizes, out=np.full(sizes.shape, np.nan), where=sizes > 0)
    means.sort(axis=1)  # which puts samples that hold no case that counts, NaN, last
    drawn = (sizes > 0).sum(axis=1)
    return [
        _estimate(column[counts], ordered[:end], samples.confidence)
        for column, counts, ordered, end in zip(by_column, known, means, drawn, strict=True)
    ]


def _sizes(known: npt.NDArray[np.bool_], counts: Floats) -> Floats:
    """Return how many cases that count each sample holds, (columns, samples).

    Args:
        known: bool (columns, cases), which cases count; most columns agree on that.
        counts: float64 (samples, cases).
    """
    if known.all():
        return np.broadcast_to(counts.sum(axis=1), (len(known), len(counts)))
    kinds, kind_of = np.unique(known, axis=0, return_inverse=True)
    return np.asarray((counts @ kinds.T.astype(np.float64)).T[kind_of.reshape(-1)])


def _estimate(values: Floats, means: Floats, confidence: float) -> Estimate | None:
    """Estimate the mean of the values that count, from the means of samples in ascending order."""
    n = len(values)
    if n == 0:
        return None
    mean = float(values.mean())
    if n < 2 or not len(means) or not np.isfinite(values).all():
        return Estimate(mean, n)
    tail = (1 - confidence) / 2
    corrected = _corrected(values, means, tail)
    return Estimate(
        mean,
        n,
        percentile=(_quantile(means, tail), _quantile(means, 1 - tail)),
        bca=(_quantile(means, corrected[0]), _quantile(means, corrected[1])),
    )


def differences(first: Floats, others: Sequence[Floats], samples: Samples) -> list[Estimate | None]:
    """Estimate the mean paired differences of a team and others, over the cases that count for both.

    Args:
        first: float64 (cases,); NaN where a case does not count.
        others: The same of each other team, subtracted.
        samples: See `estimates`.
    """
    if not others:
        return []
    with np.errstate(invalid="ignore"):  # both infinitely far off differ by nothing that can be told
        gaps = first[:, None] - np.stack(others, axis=1)
    return estimates(gaps, samples)


def difference(first: Floats, second: Floats, samples: Samples) -> Estimate | None:
    """Estimate the mean paired difference of two teams; see `differences`."""
    return differences(first, [second], samples)[0]


def _quantile(ordered: Floats, share: float) -> float:
    """Return a quantile of ordered numbers, between two of them in proportion."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


def _corrected(values: Floats, means: Floats, tail: float) -> Ends:
    """Return the shares of samples that the BCa interval's ends are at, for a mean of `values`."""
    mean = values.mean()
    # Equal values differ by rounding alone, which must not look like a bias.
    slack = 1e-12 * max(1.0, float(np.abs(values).max()))
    first, last = np.searchsorted(means, mean - slack, "left"), np.searchsorted(means, mean + slack, "right")
    below = (first + last) / (2 * len(means))
    if below in (0.0, 1.0):
        return tail, 1 - tail
    bias = float(ndtri(below))
    # The jackknife of a mean: leaving a case out moves it by (value - mean) / (n - 1).
    moves = (values - mean) / (len(values) - 1)
    spread = float((moves**2).sum()) ** 1.5
    bend = float((moves**3).sum()) / (6 * spread) if spread > 0 else 0.0

    def share(quantile: float) -> float:
        shifted = bias + quantile
        return float(ndtr(bias + shifted / (1 - bend * shifted)))

    return share(float(ndtri(tail))), share(float(ndtri(1 - tail)))
