"""Read thousands of runs: journal lines straight into arrays.

Each line is parsed and checked for what a leaderboard needs of it, without making the full records: a million
of those are gigabytes of objects. `harness verify` checks the whole of every line.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from harness.challenge import Challenge
from harness.errors import InfrastructureError
from harness.leaderboard.values import (
    LOWER_BOUND,
    ExecutionFacts,
    RunValues,
    ScoreFacts,
    assemble,
)
from harness.results.folder import read_run_record
from harness.results.journal import CASES_FILE, RUN_FILE, SCORES_FILE
from harness.results.records import Outcome

_PARALLEL_FROM_BYTES = 50_000_000
"""Starting processes costs more than reading less than this."""


class _Stages(TypedDict, total=False):
    run_s: float | None


class _Usage(TypedDict, total=False):
    peak_memory_bytes: float | None
    peak_memory_method: str | None
    memory_auc_byte_s: float | None
    cpu_utilisation_auc_percent_s: float | None
    peak_gpu_memory_bytes: float | None
    gpu_memory_auc_byte_s: float | None


class _Prediction(TypedDict):
    sha256: str


class _Execution(TypedDict):
    case: str
    outcome: Outcome
    stages: _Stages
    usage: _Usage
    prediction: _Prediction | None


class _Label(TypedDict):
    label: Annotated[int, Field(ge=0, le=255)]
    dsc: float | None
    nsd: float | None


class _Score(TypedDict):
    case: str
    profile: str
    prediction_sha256: str | None
    scores: list[_Label]


_EXECUTION = TypeAdapter(_Execution)
_SCORE = TypeAdapter(_Score)
_label_facts = itemgetter("label", "dsc", "nsd")

Parsed = TypeVar("Parsed")


def read_values(
    results: Path,
    challenge: Challenge,
    *,
    profile: str | None = None,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[RunValues]:
    """Read every run of a challenge, `results/CHALLENGE/TEAM/RUN`, in the order of their folders.

    Args:
        results: The folder that results are stored in.
        challenge: The challenge.
        profile: The scoring profile wanted, the challenge's by default.
        processes: How many processes read; by default one per core where there is much to read, else one.
        progress: Called with the runs read and their number.

    Raises:
        InfrastructureError: a record is damaged.
    """
    folders = sorted(path.parent for path in (results / challenge.name).glob(f"*/*/{RUN_FILE}"))
    labels = tuple(label.value for label in challenge.labels)
    read = partial(read_run_values, labels=labels, profile=profile or challenge.profile)
    if processes is None:
        much = sum(_size(folder / SCORES_FILE) for folder in folders) >= _PARALLEL_FROM_BYTES
        processes = len(os.sched_getaffinity(0)) if much else 1
    if processes == 1:
        return list(_counted(map(read, folders), len(folders), progress))
    # The readers make millions of small objects and no cycles; looking for those costs an eighth of the time.
    context = get_context("forkserver")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=gc.disable) as pool:
        return list(_counted(pool.map(read, folders, chunksize=8), len(folders), progress))


def read_run_values(folder: Path, *, labels: tuple[int, ...], profile: str) -> RunValues:
    """Read one run's folder into arrays.

    Args:
        folder: The run's folder.
        labels: The challenge's label values, in the order wanted.
        profile: The scoring profile wanted; see `values.assemble`.

    Raises:
        ConfigurationError: the folder holds no run.
        InfrastructureError: a record is damaged.
    """
    return assemble(
        folder,
        read_run_record(folder),
        _executions(folder / CASES_FILE),
        _scores(folder / SCORES_FILE),
        labels=labels,
        profile=profile,
    )


def _executions(path: Path) -> Iterator[ExecutionFacts]:
    for line in _lines(path, _EXECUTION):
        usage = line["usage"]
        yield ExecutionFacts(
            case=line["case"],
            outcome=line["outcome"],
            prediction_sha256=line["prediction"]["sha256"] if line["prediction"] is not None else None,
            lower_bound=usage.get("peak_memory_method") == LOWER_BOUND,
            resources=(
                line["stages"].get("run_s"),
                usage.get("peak_memory_bytes"),
                usage.get("memory_auc_byte_s"),
                usage.get("cpu_utilisation_auc_percent_s"),
                usage.get("peak_gpu_memory_bytes"),
                usage.get("gpu_memory_auc_byte_s"),
            ),
        )


def _scores(path: Path) -> Iterator[ScoreFacts]:
    for line in _lines(path, _SCORE):
        labels = list(map(_label_facts, line["scores"]))
        yield ScoreFacts(line["case"], line["profile"], line["prediction_sha256"], labels)


def _lines(path: Path, kind: TypeAdapter[Parsed]) -> Iterator[Parsed]:
    """Yield a journal's checked lines, except for a torn last one."""
    if not path.exists():
        return
    check = kind.validator.validate_json
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield check(line)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"])
                raise InfrastructureError(
                    f"a record is damaged{f' at {place}' if place else ''}: {first['msg']}",
                    where=f"{path}:{number}",
                    mend="`harness verify` lists every damaged record.",
                ) from error


def _counted(
    runs: Iterator[RunValues], total: int, progress: Callable[[int, int], None] | None
) -> Iterator[RunValues]:
    for done, run in enumerate(runs, start=1):
        if progress is not None:
            progress(done, total)
        yield run


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
