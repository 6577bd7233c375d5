"""How fast and how lean the evaluator is. Run with `pytest tests/benchmarks/test_evaluator_speed.py -s`.

Times are reported, not asserted; runs of the two tools alternate, so that a busy machine slows both. Targets
on 2 cores, reading included, kernels compiled: 100 times as fast as surface-distance read through nibabel at
300 and 600 slices, 60 times at 100; peak memory at most 600 MiB at 600 slices; the worst predictions within
20 times of a good one, whatever is computed; one pair from a cold start within 2 s; importing the package
within 0.3 s. How others compare is in test_evaluator_peers.py.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import oracles
import pytest
from flare_like import Pair, chequered, emptied, make_lesions, make_pair, salted, shifted, strewn

from evaluator import LABEL_TABLES, Label, LabelTable, LabelVolume, Scoring, score_case, score_folder
from evaluator.precompile import precompile

LABELS = LABEL_TABLES["flare23"]
ROUNDS = int(os.environ.get("EVALUATOR_BENCHMARK_ROUNDS", "3"))
RUNS_PER_ROUND = 5


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """Make pairs on disk by number of slices and kind, once."""
    made: dict[tuple[int, str], tuple[Path, Path]] = {}
    kinds: dict[str, Callable[[Pair], Pair]] = {
        "good": lambda pair: pair,
        "shifted by 25 voxels": lambda pair: shifted(pair, 25),
        "shifted by 60 voxels": lambda pair: shifted(pair, 60),
        "0.2 % salt": lambda pair: salted(pair, 0.002),
        "checkerboard": chequered,
        "10,000 components": strewn,
        "all labels missing": emptied,
    }

    def make(slices: int, kind: str = "good") -> tuple[Path, Path]:
        if (slices, kind) not in made:
            folder = tmp_path_factory.mktemp("pairs")
            made[slices, kind] = kinds[kind](make_pair(slices)).save(folder)
        return made[slices, kind]

    precompile()
    return make


def score(reference: Path, prediction: Path) -> None:
    score_case(reference, prediction, labels=LABELS)


def score_with_surface_distance(reference: Path, prediction: Path) -> None:
    """Dice and surface Dice of every label that occurs, files read through nibabel."""
    truth_image, found_image = nibabel.load(reference), nibabel.load(prediction)
    truth, found = np.asanyarray(truth_image.dataobj), np.asanyarray(found_image.dataobj)
    spacing = tuple(float(size) for size in truth_image.header.get_zooms())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for label in LABELS:
            one, other = truth == label.value, found == label.value
            if one.any() or other.any():
                oracles.dice(one, other)
                oracles.surface_dice(one, other, spacing, label.tolerance_mm)  # type: ignore[arg-type]


def seconds(function: Callable[[], Any], *, clock: Callable[[], float] = time.perf_counter) -> float:
    began = clock()
    function()
    return clock() - began


@pytest.mark.parametrize("slices", [100, 300, 600])
def test_against_surface_distance(
    benchmark: Any, pairs: Callable[..., tuple[Path, Path]], slices: int
) -> None:
    files = pairs(slices)
    score(*files)
    peer_seconds: list[float] = []

    def peer_first() -> None:
        peer_seconds.append(seconds(lambda: score_with_surface_distance(*files)))
        score(*files)  # brings the files and our buffers back into the caches

    def several() -> None:
        for _ in range(RUNS_PER_ROUND):
            score(*files)

    benchmark.pedantic(several, setup=peer_first, rounds=ROUNDS)
    ours = benchmark.stats.stats.median / RUNS_PER_ROUND
    theirs = statistics.median(peer_seconds)
    report(
        benchmark, slices=slices, seconds=ours, surface_distance_seconds=theirs, times_faster=theirs / ours
    )


@pytest.mark.parametrize("kind", ["shifted by 25 voxels", "0.2 % salt", "all labels missing"])
def test_bad_predictions(benchmark: Any, pairs: Callable[..., tuple[Path, Path]], kind: str) -> None:
    good, bad = pairs(300), pairs(300, kind)
    score(*bad)
    good_seconds: list[float] = []

    def good_first() -> None:
        score(*good)
        good_seconds.append(seconds(lambda: score(*good)))

    benchmark.pedantic(lambda: score(*bad), setup=good_first, rounds=4 * ROUNDS)
    ours, normal = benchmark.stats.stats.median, statistics.median(good_seconds)
    report(benchmark, kind=kind, seconds=ours, good_seconds=normal, times_slower=ours / normal)


SURFACES = ("dsc", "nsd", "hd95", "assd", "masd")


@pytest.mark.parametrize(
    "metrics", [("dsc",), SURFACES, (*SURFACES, "hd", "iou", "boundary_iou")], ids=",".join
)
def test_other_metrics(
    benchmark: Any, pairs: Callable[..., tuple[Path, Path]], metrics: tuple[str, ...]
) -> None:
    files, scoring = pairs(300), Scoring(LABELS, metrics=metrics)
    score_case(*files, scoring)
    usual_seconds: list[float] = []

    def usual_first() -> None:
        usual_seconds.append(seconds(lambda: score(*files)))

    benchmark.pedantic(lambda: score_case(*files, scoring), setup=usual_first, rounds=2 * ROUNDS)
    ours, usual = benchmark.stats.stats.median, statistics.median(usual_seconds)
    report(benchmark, metrics=",".join(metrics), seconds=ours, dsc_nsd_seconds=usual, ratio=ours / usual)


LESIONS = ("lesion_f1", "lesion_dice", "lesion_hd95", "pq")


@pytest.mark.parametrize(
    "kind",
    ["shifted by 25 voxels", "shifted by 60 voxels", "0.2 % salt", "10,000 components", "checkerboard"],
)
@pytest.mark.parametrize("metrics", [SURFACES, LESIONS], ids=["distances", "lesions"])
def test_bad_predictions_with_distances_and_lesions(
    benchmark: Any, pairs: Callable[..., tuple[Path, Path]], kind: str, metrics: tuple[str, ...]
) -> None:
    scoring = Scoring(LABELS, metrics=metrics)
    good, bad = pairs(300), pairs(300, kind)
    score_case(*bad, scoring)
    good_seconds: list[float] = []

    def good_first() -> None:
        score_case(*good, scoring)
        good_seconds.append(seconds(lambda: score_case(*good, scoring), clock=time.process_time))

    benchmark.pedantic(lambda: score_case(*bad, scoring), setup=good_first, rounds=ROUNDS)
    ours = seconds(lambda: score_case(*bad, scoring), clock=time.process_time)
    normal = statistics.median(good_seconds)
    report(benchmark, kind=kind, cpu_seconds=ours, good_cpu_seconds=normal, times_slower=ours / normal)


@pytest.mark.parametrize("profile", ["exact", "brats2023-gli", "panoptica-bipartite"])
@pytest.mark.parametrize("lesions", [200, 10_000])
def test_lesions(benchmark: Any, lesions: int, profile: str) -> None:
    metrics = ("lesion_f1", "lesion_dice", "lesion_nsd", "lesion_hd95", "pq")
    table = LabelTable("lesions", (Label(1, "lesion", 1.0),))
    scoring, dice = Scoring(table, profile=profile, metrics=metrics), Scoring(table, metrics=("dsc",))
    pair = make_lesions(lesions, largest_voxels=7 if lesions < 1000 else 3)
    volumes = [LabelVolume(array, pair.spacing_mm) for array in (pair.reference, pair.prediction)]
    score_case(*volumes, scoring)
    benchmark.pedantic(lambda: score_case(*volumes, scoring), rounds=ROUNDS)
    cpu, dice_cpu = (
        seconds(lambda rules=rules: score_case(*volumes, rules), clock=time.process_time)  # type: ignore[misc]
        for rules in (scoring, dice)
    )
    report(benchmark, lesions=lesions, profile=profile, cpu_seconds=cpu, dice_cpu_seconds=dice_cpu)


def test_200_cases(benchmark: Any, pairs: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    for side, path in zip(("labels", "predictions"), pairs(100), strict=True):
        (tmp_path / side).mkdir()
        for number in range(200):
            (tmp_path / side / f"case_{number:03}.nii.gz").hardlink_to(path)

    def score_all() -> int:
        folders = tmp_path / "labels", tmp_path / "predictions"
        return sum(1 for _ in score_folder(*folders, labels=LABELS))

    assert benchmark.pedantic(score_all, rounds=ROUNDS) == 200
    one = min(seconds(lambda: score_case(*pairs(100), Scoring(LABELS, threads=1))) for _ in range(10))
    each = benchmark.stats.stats.median / 200
    report(benchmark, seconds_per_case=each, one_case_one_thread_seconds=one, busy_cores=one / each)


@pytest.mark.parametrize(
    ("slices", "kind"), [(300, "good"), (600, "good"), (600, "0.2 % salt"), (600, "shifted by 25 voxels")]
)
def test_peak_memory(benchmark: Any, pairs: Callable[..., tuple[Path, Path]], slices: int, kind: str) -> None:
    reference, prediction = pairs(slices, kind)
    code = (
        "import sys; from evaluator import *\n"
        "for _ in range(3): score_case(sys.argv[1], sys.argv[2], labels=LABEL_TABLES['flare23'])\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    command = [sys.executable, "-c", code, str(reference), str(prediction)]
    done = benchmark.pedantic(
        lambda: subprocess.run(command, capture_output=True, text=True, check=True), rounds=1
    )
    report(benchmark, slices=slices, kind=kind, peak_memory_mib=float(done.stdout) / 1024)


def test_cold_start_on_one_pair(
    benchmark: Any, pairs: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    reference, prediction = pairs(300)
    options = ["--challenge", "flare23", "--output", str(tmp_path / "scores.csv"), "--quiet"]
    command = [sys.executable, "-m", "evaluator", str(reference), str(prediction), *options]
    benchmark.pedantic(lambda: subprocess.run(command, check=True), rounds=2 * ROUNDS, warmup_rounds=1)
    report(benchmark, seconds=benchmark.stats.stats.median)


def test_importing_the_package(benchmark: Any) -> None:
    command = [sys.executable, "-c", "import evaluator"]
    benchmark.pedantic(lambda: subprocess.run(command, check=True), rounds=2 * ROUNDS, warmup_rounds=1)
    nothing = min(seconds(lambda: subprocess.run([sys.executable, "-c", ""], check=True)) for _ in range(5))
    report(benchmark, seconds=benchmark.stats.stats.median, empty_interpreter_seconds=nothing)


def report(benchmark: Any, **values: object) -> None:
    """Keep values with the benchmark's results and print them."""
    benchmark.extra_info.update(values)
    shown = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
    print(f"\n{benchmark.name}: {shown}")
