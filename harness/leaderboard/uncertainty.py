"""How far a mean over these cases can be trusted: bootstrap intervals of means and of paired differences.

The cases are drawn again with replacement, the same draws for every team and metric, so that differences of
teams are paired. Percentile intervals, and the bias-corrected and accelerated ones (BCa) of Efron, "Better
bootstrap confidence intervals", Journal of the American Statistical Association 82:171 (1987), which also
hold where the values are skewed, as scores near 100 % are.
"""

from __future__ import annotations

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
    known = ~np.isnan(values)
    held = known.sum(axis=0)
    finite = np.where(known & np.isfinite(values), values, 0.0)
    infinite = np.asarray(np.isinf(values).any(axis=0))
    sizes = samples.counts @ known.astype(np.float64)
    means = np.divide(samples.counts @ finite, sizes, out=np.full(sizes.shape, np.nan), where=sizes > 0)
    found: list[Estimate | None] = []
    for column, n in enumerate(held):
        if n == 0:
            found.append(None)
            continue
        own = values[known[:, column], column]
        mean = float(own.mean())
        drawn = means[:, column][~np.isnan(means[:, column])]
        if infinite[column] or n < 2 or not len(drawn):
            found.append(Estimate(mean, int(n)))
            continue
        tail = (1 - samples.confidence) / 2
        plain = _quantiles(drawn, tail, 1 - tail)
        found.append(Estimate(mean, int(n), plain, _quantiles(drawn, *_corrected(own, drawn, tail))))
    return found


def difference(first: Floats, second: Floats, samples: Samples) -> Estimate | None:
    """Estimate the mean paired difference of two teams over the cases that count for both.

    Args:
        first: float64 (cases,); NaN where a case does not count.
        second: The same of the other team, subtracted.
        samples: See `estimates`.
    """
    with np.errstate(invalid="ignore"):  # both infinitely far off differ by nothing that can be told
        gap = first - second
    return estimates(gap[:, None], samples)[0]


def _quantiles(samples: Floats, low: float, high: float) -> Ends:
    ends = np.quantile(samples, [low, high])
    return float(ends[0]), float(ends[1])


def _corrected(values: Floats, samples: Floats, tail: float) -> Ends:
    """Return the shares of samples that the BCa interval's ends are at, for a mean of `values`."""
    mean = values.mean()
    # Equal values differ by rounding alone, which must not look like a bias.
    slack = 1e-12 * max(1.0, float(np.abs(values).max()))
    below = ((samples < mean - slack).mean() + (samples <= mean + slack).mean()) / 2
    if below in (0.0, 1.0):
        return tail, 1 - tail
    bias = ndtri(below)
    # The jackknife of a mean: leaving a case out moves it by (mean - value) / (n - 1).
    moves = mean - (values.sum() - values) / (len(values) - 1)
    spread = (moves**2).sum() ** 1.5
    bend = (moves**3).sum() / (6 * spread) if spread > 0 else 0.0

    def share(quantile: float) -> float:
        shifted = bias + quantile
        return float(ndtr(bias + shifted / (1 - bend * shifted)))

    return share(float(ndtri(tail))), share(float(ndtri(1 - tail)))
