"""The working set's peak: without the cache of files, and with what came and went between two looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.measure.cgroup import CaseCgroup, Hierarchy
from harness.measure.working_set import SwapCounter, WorkingSetPeak, file_cache_bytes

MIB = 1024**2


class Kernel:
    """A counter as the kernel keeps it: its peak since it was set back."""

    def __init__(self, *peaks: int | None) -> None:
        self._peaks = list(peaks)

    def peak_since_reset(self) -> int | None:
        return self._peaks.pop(0)

    def close(self) -> None:
        pass


def test_a_peak_between_two_looks_is_found():
    peak = WorkingSetPeak(Kernel(130, 530, 130))
    for _ in range(3):
        peak.look(working_set_bytes=100, cache_bytes=30)
    assert peak.result == (500, "interval-peaks")


def test_the_cache_of_files_is_never_in_it():
    """The cache grows by 400 while the program holds 100: the counter saw 530, and no program did."""
    peak = WorkingSetPeak(Kernel(130, 530))
    peak.look(working_set_bytes=100, cache_bytes=30)
    peak.look(working_set_bytes=100, cache_bytes=430)
    assert peak.result == (100, "interval-peaks")


def test_a_cache_that_was_dropped_in_between_is_not_taken_for_the_programs_memory():
    peak = WorkingSetPeak(Kernel(530, 530))
    peak.look(working_set_bytes=100, cache_bytes=430)
    peak.look(working_set_bytes=100, cache_bytes=10)
    assert peak.result == (100, "interval-peaks")


def test_a_kernel_that_sets_nothing_back_gives_samples_and_says_so():
    peak = WorkingSetPeak(Kernel(None, None))
    peak.look(working_set_bytes=100, cache_bytes=30)
    peak.look(working_set_bytes=120, cache_bytes=30)
    assert peak.result == (120, "sampled-lower-bound")


def test_nothing_is_known_before_the_first_look():
    assert WorkingSetPeak(Kernel()).result is None


@pytest.mark.parametrize(
    ("version", "stat"),
    [(1, {"cache": 1, "total_cache": 50, "total_shmem": 20}), (2, {"file": 50, "shmem": 20, "anon": 7})],
)
def test_shared_memory_is_no_cache(version, stat):
    assert file_cache_bytes(stat, version) == 30


def test_version_1_sets_the_counter_of_memory_and_swap_back_and_leaves_the_peak_of_memory(tmp_path: Path):
    folder = tmp_path / "flareharness" / "ab12"
    folder.mkdir(parents=True)
    (folder / "memory.usage_in_bytes").write_text(f"{100 * MIB}\n")
    (folder / "memory.max_usage_in_bytes").write_text(f"{900 * MIB}\n")
    (folder / "memory.memsw.max_usage_in_bytes").write_text(f"{300 * MIB}\n")
    (folder / "memory.stat").write_text(f"total_cache {40 * MIB}\ntotal_shmem 0\n")
    cgroup = CaseCgroup(Hierarchy(1, tmp_path, tmp_path, tmp_path), "/flareharness/ab12", "feed")
    assert cgroup.working_set_peak() == (260 * MIB, "interval-peaks")
    assert (folder / "memory.memsw.max_usage_in_bytes").read_text() == "0"
    assert cgroup.peak() == (900 * MIB, "cgroup-v1-max-usage")


def test_a_host_that_counts_no_swap_has_no_such_counter(tmp_path: Path):
    assert SwapCounter(tmp_path).peak_since_reset() is None
