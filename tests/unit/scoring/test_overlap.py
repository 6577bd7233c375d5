"""Scoring beside a running case never gets a core that the case may use."""

from __future__ import annotations

import pytest

from harness.errors import ConfigurationError
from harness.scoring.overlap import split_cores

TABLE = [
    ({0, 1, 2, 3}, 2.0, 1, [0, 1], [2, 3]),
    ({0, 1, 2, 3}, 1.5, 1, [0, 1], [2, 3]),
    ({4, 6, 8}, 1.0, 2, [4, 6], [8]),
    (set(range(8)), 0.5, 1, [0], [1, 2, 3, 4, 5, 6, 7]),
]


@pytest.mark.parametrize(("cores", "cpus", "jobs", "judged", "spare"), TABLE)
def test_cores_are_split(
    cores: set[int], cpus: float, jobs: int, judged: list[int], spare: list[int]
) -> None:
    assert split_cores(cores, cpus=cpus, jobs=jobs) == (judged, spare)


@pytest.mark.parametrize(("cpus", "jobs"), [(None, 1), (2.0, 1), (1.0, 2), (1.5, 1)])
def test_without_a_spare_core_it_is_refused(cpus: float | None, jobs: int) -> None:
    with pytest.raises(ConfigurationError, match=r"no core is left for scoring: 2 are there"):
        split_cores({0, 1}, cpus=cpus, jobs=jobs)
