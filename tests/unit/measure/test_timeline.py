"""Integrals are over the samples' own times."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.measure.timeline import Sample, Timeline, integrate


def test_a_constant_integrates_to_its_area_whatever_the_sampling() -> None:
    assert integrate([0.0, 0.1, 5.0, 9.0], [3.0] * 4, end_s=10.0) == pytest.approx(30.0)


def test_a_ramp_integrates_to_a_triangle() -> None:
    assert integrate([0.0, 1.0, 4.0], [0.0, 1.0, 4.0], end_s=4.0) == pytest.approx(8.0)


def test_late_sampling_does_not_shrink_the_area() -> None:
    assert integrate([2.0, 3.0], [5.0, 5.0], end_s=4.0) == pytest.approx(20.0)


def test_samples_after_the_end_do_not_count() -> None:
    assert integrate([0.0, 1.0, 2.0], [1.0, 1.0, 100.0], end_s=1.0) == pytest.approx(1.0)


def test_nothing_sampled_is_no_area() -> None:
    assert integrate([], [], end_s=4.0) == 0.0
    assert Timeline().integral("memory_bytes", end_s=1.0) is None
    assert Timeline().peak("memory_bytes") is None


def test_what_is_free_of_charge_is_taken_off_sample_by_sample() -> None:
    timeline = Timeline()
    for t_s, used in ((0.0, 1000), (1.0, 3000), (2.0, 3000)):
        timeline.add(Sample(t_s, gpu_memory_bytes=used))
    assert timeline.integral("gpu_memory_bytes", end_s=2.0, free=2000) == pytest.approx(500 + 1000)


def test_the_csv_leaves_a_field_empty_that_was_not_measured(tmp_path: Path) -> None:
    timeline = Timeline()
    timeline.add(Sample(0.25, memory_bytes=7, cpu_s=0.5))
    timeline.write_csv(tmp_path / "timeline.csv")
    assert (tmp_path / "timeline.csv").read_text().splitlines() == [
        "t_s,memory_bytes,working_set_bytes,cpu_s,gpu_memory_bytes,output_bytes",
        "0.2500,7,,0.5,,",
    ]
