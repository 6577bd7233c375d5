"""A case's samples over time, their peaks and their integrals over the true time stamps."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """What was seen `t_s` seconds after the start; None where it was not measured."""

    t_s: float
    memory_bytes: int | None = None
    working_set_bytes: int | None = None
    cpu_s: float | None = None
    gpu_memory_bytes: int | None = None
    output_bytes: int | None = None


class Timeline:
    """Samples in the order in which they were taken."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """Append a sample."""
        self.samples.append(sample)

    def peak(self, field: str) -> int | None:
        """Return the largest sample of a field: a lower bound of its true peak."""
        values = [value for sample in self.samples if (value := getattr(sample, field)) is not None]
        return max(values, default=None)

    def integral(self, field: str, *, end_s: float, free: float = 0.0) -> float | None:
        """Return the time integral of `max(0, field - free)` from 0 to `end_s`. See `integrate`."""
        points = [(s.t_s, float(value)) for s in self.samples if (value := getattr(s, field)) is not None]
        if not points:
            return None
        return integrate([t for t, _ in points], [max(0.0, value - free) for _, value in points], end_s=end_s)

    def write_csv(self, path: Path) -> None:
        """Write every sample as a row; an empty field was not measured."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(Sample)])
            for sample in self.samples:
                row = asdict(sample)
                row["t_s"] = f"{sample.t_s:.4f}"
                writer.writerow(["" if value is None else value for value in row.values()])


def integrate(times_s: Sequence[float], values: Sequence[float], *, end_s: float) -> float:
    """Return the trapezoidal integral over the samples' own times, from 0 to `end_s`.

    The first value holds from 0 to its sample and the last one to the end: sampling that starts late
    or stops early does not shrink the area. Samples after `end_s` do not count.
    """
    points = [(t, value) for t, value in zip(times_s, values, strict=True) if t <= end_s]
    if not points:
        return values[0] * end_s if values else 0.0
    area = points[0][0] * points[0][1] + (end_s - points[-1][0]) * points[-1][1]
    for (t0, v0), (t1, v1) in itertools.pairwise(points):
        area += (t1 - t0) * (v0 + v1) / 2
    return area
