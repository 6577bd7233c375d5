"""The evaluator's CPU time beside that of other tools, on pairs of 512 x 512 x 300 voxels, files read.

Run with `pytest tests/benchmarks/test_evaluator_peers.py -s`. Each round lets one tool and then the other
score the same two files with one thread, so that a busy machine slows both; the median of the rounds' ratios
is told with its range. That both computed the same is asserted, times are not.

surface-distance comes with the environment of the tests. exacta stands on torch and so lives elsewhere:

    python -m venv /tmp/exacta && /tmp/exacta/bin/pip install exacta==0.0.1a5 nibabel
    EXACTA_PYTHON=/tmp/exacta/bin/python pytest tests/benchmarks/test_evaluator_peers.py -s
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flare_like import make_lesions, make_pair
from test_evaluator_speed import report, score_with_surface_distance

from evaluator import LABEL_TABLES, CaseScore, Label, LabelTable, Scoring, score_case
from evaluator.precompile import precompile

LABELS = LABEL_TABLES["flare23"]
LESIONS = LabelTable("lesions", (Label(1, "lesion", 1.0),))
ROUNDS = int(os.environ.get("EVALUATOR_BENCHMARK_ROUNDS", "5"))
RUNS_PER_ROUND = 3
SURFACES = ("dsc", "nsd", "hd95", "assd", "masd")
LESION_METRICS = ("lesion_f1", "lesion_dice", "lesion_hd95", "pq")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Pairs on disk: 14 labels, and 200 lesions of one."""
    precompile()
    pairs = {"organs": make_pair(300), "lesions": make_lesions(200, largest_voxels=7)}
    return {name: pair.save(tmp_path_factory.mktemp(name)) for name, pair in pairs.items()}


class Exacta:
    """exacta in a process of its own interpreter, which says what CPU time each pair took."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def score(self, task: str, pair: tuple[Path, Path], tolerances_mm: list[float]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        wanted = {"task": task, "reference": str(pair[0]), "prediction": str(pair[1])}
        print(json.dumps({**wanted, "tolerances_mm": tolerances_mm}), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def exacta() -> Iterator[Exacta]:
    python = os.environ.get("EXACTA_PYTHON")
    if python is None:
        pytest.skip("NO EXACTA: set EXACTA_PYTHON to an interpreter that has it")
    script = Path(__file__).with_name("exacta_peer.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield Exacta(process)
        assert process.stdin is not None
        process.stdin.close()


def compare(benchmark: Any, name: str, ours: Callable[[], object], theirs: Callable[[], float]) -> None:
    """Let both take turns and tell medians, and the median and range of the rounds' ratios."""
    ours(), theirs()
    own_seconds: list[float] = []
    peer_seconds: list[float] = []

    def one_round() -> None:
        peer_seconds.append(theirs())
        ours()  # brings the files and buffers back into the caches
        began = time.process_time()
        for _ in range(RUNS_PER_ROUND):
            ours()
        own_seconds.append((time.process_time() - began) / RUNS_PER_ROUND)

    benchmark.pedantic(one_round, rounds=ROUNDS)
    ratios = [theirs / ours for ours, theirs in zip(own_seconds, peer_seconds, strict=True)]
    report(
        benchmark,
        peer=name,
        cpu_seconds=statistics.median(own_seconds),
        peer_cpu_seconds=statistics.median(peer_seconds),
        times_faster=statistics.median(ratios),
        least=min(ratios),
        most=max(ratios),
    )


def test_dice_and_nsd_beside_surface_distance(benchmark: Any, files: dict[str, tuple[Path, Path]]) -> None:
    scoring = Scoring(LABELS, metrics=("dsc", "nsd"), threads=1)

    def theirs() -> float:
        began = time.process_time()
        score_with_surface_distance(*files["organs"])
        return time.process_time() - began

    compare(benchmark, "surface-distance", lambda: score_case(*files["organs"], scoring), theirs)


def test_surfaces_beside_exacta(benchmark: Any, files: dict[str, tuple[Path, Path]], exacta: Exacta) -> None:
    """exacta computes four metrics; MASD, its `assd` with another option, would be a second call."""
    scoring = Scoring(LABELS, metrics=SURFACES, threads=1)
    tolerances = [label.tolerance_mm for label in LABELS]
    pair = files["organs"]
    score, found = score_case(*pair, scoring), exacta.score("surfaces", pair, tolerances)["scores"]
    for key, name in (("dsc", "dice"), ("nsd", "nsd"), ("hd95", "hd95"), ("assd", "assd")):
        assert [row.scores[key] for row in score] == pytest.approx(found[name], rel=1e-6), key
    compare(
        benchmark,
        "exacta",
        lambda: score_case(*pair, scoring),
        lambda: float(exacta.score("surfaces", pair, tolerances)["cpu_seconds"]),
    )


@pytest.mark.parametrize(("task", "profile"), [("lesions", "exact"), ("brats2023", "brats2023-gli")])
def test_lesions_beside_exacta(
    benchmark: Any, files: dict[str, tuple[Path, Path]], exacta: Exacta, task: str, profile: str
) -> None:
    scoring = Scoring(LESIONS, profile=profile, metrics=LESION_METRICS, threads=1)
    pair = files["lesions"]
    assert same_lesions(score_case(*pair, scoring), exacta.score(task, pair, [1.0])["scores"])
    compare(
        benchmark,
        f"exacta {task}",
        lambda: score_case(*pair, scoring),
        lambda: float(exacta.score(task, pair, [1.0])["cpu_seconds"]),
    )


def same_lesions(score: CaseScore, found: dict[str, list[float]]) -> bool:
    ours = score.labels[0].scores
    return all(
        math.isclose(ours[key], found[name][0], rel_tol=1e-6)
        for key, name in (("lesion_f1", "f1"), ("lesion_dice", "lesion_dice"))
    )
