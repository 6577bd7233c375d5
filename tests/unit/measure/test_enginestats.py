"""The engine's own numbers, as the Docker Engine API gives them on both cgroup versions."""

from __future__ import annotations

from typing import Any

import pytest

from harness.measure.cgroup import MemorySample
from harness.measure.enginestats import EngineStats

VERSION_1 = {
    "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
    "memory_stats": {"usage": 5000, "stats": {"cache": 1, "total_cache": 2500, "total_shmem": 500}},
}
VERSION_2 = {
    "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
    "memory_stats": {"usage": 5000, "stats": {"file": 2500, "shmem": 500}},
}


@pytest.mark.parametrize("answer", [VERSION_1, VERSION_2])
def test_both_versions_are_read(answer: dict[str, Any]) -> None:
    meter = EngineStats(lambda: answer)
    assert meter.memory() == MemorySample(5000, 3000)
    assert meter.cpu_s() == pytest.approx(2.5)
    assert meter.peak() is None


@pytest.mark.parametrize("answer", [{}, {"memory_stats": {}, "cpu_stats": {}}, {"memory_stats": None}])
def test_a_container_that_ended_has_no_numbers(answer: dict[str, Any]) -> None:
    meter = EngineStats(lambda: answer)
    assert meter.memory() is None
    assert meter.cpu_s() is None
