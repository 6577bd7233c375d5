"""Read thousands of runs: journal lines straight into arrays.

Each line is parsed and checked for what a leaderboard needs of it, without making the full records: a million
of those are gigabytes of objects. `harness verify` checks the whole of every line.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from harness.challenge import Challenge
from harness.errors import ConfigurationError, InfrastructureError
from harness.leaderboard.values import (
    ABSENT,
    LOWER_BOUND,
    MOST_LABEL_NUMBER,
    USAGE_FIELDS,
    ExecutionFacts,
    RunValues,
    ScoreFacts,
    Wanted,
    assemble,
)
from harness.results.folder import chain_start, end_faults, judged_seal, read_run_record
from harness.results.journal import CASES_FILE, RUN_FILE, SCORES_FILE, Chain
from harness.results.key import known_key
from harness.results.records import FORMER_SCORES, Outcome, RunRecord
from harness.results.seal import SEAL_FILE, JournalEnd, Seal

_PARALLEL_FROM_BYTES = 50_000_000
"""Starting processes costs more than reading less than this."""
_NAMED = 3
"""How many runs a message names."""


class _Stages(TypedDict, total=False):
    run_s: float | None


_Usage = TypedDict(  # type: ignore[misc]  # its fields are those of the measured metrics
    "_Usage",
    {"peak_memory_method": str | None} | dict.fromkeys(USAGE_FIELDS, float | None),
    total=False,
)


class _Prediction(TypedDict):
    sha256: str


class _Execution(TypedDict):
    case: str
    outcome: Outcome
    stages: _Stages
    usage: _Usage
    prediction: _Prediction | None


_Scores = dict[str, float | None]


class _Label(TypedDict):
    label: Annotated[int, Field(ge=0, le=MOST_LABEL_NUMBER)]
    scores: NotRequired[_Scores]
    reference_ml: NotRequired[float | None]
    prediction_ml: NotRequired[float | None]
    # Version 1, whose failed cases hold what their challenge charged.
    dsc: NotRequired[float | None]
    nsd: NotRequired[float | None]
    hd95_mm: NotRequired[float | None]
    assd_mm: NotRequired[float | None]


class _Rater(TypedDict):
    scores: list[_Label]
    case_scores: NotRequired[_Scores]


class _Score(TypedDict):
    schema_version: int
    case: str
    profile: str
    prediction_sha256: str | None
    usable: NotRequired[bool]
    scores: list[_Label]
    case_scores: NotRequired[_Scores]
    raters: NotRequired[list[_Rater]]


_EXECUTION = TypeAdapter(_Execution)
_SCORE = TypeAdapter(_Score)

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
    read = partial(read_run_values, wanted=wanted_of(challenge, profile=profile))
    if processes is None:
        much = sum(_size(folder / SCORES_FILE) for folder in folders) >= _PARALLEL_FROM_BYTES
        processes = len(os.sched_getaffinity(0)) if much else 1
    if processes == 1:
        return list(_counted(map(read, folders), len(folders), progress))
    # The readers make millions of small objects and no cycles; looking for those costs an eighth of the time.
    context = get_context("forkserver")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=gc.disable) as pool:
        return list(_counted(pool.map(read, folders, chunksize=8), len(folders), progress))


def wanted_of(challenge: Challenge, *, profile: str | None = None) -> Wanted:
    """Return what a challenge's leaderboard reads of the scores, under its own profile or another."""
    return Wanted(
        labels=challenge.labels.values,
        label_metrics=tuple(facts.key for facts in challenge.label_metrics),
        case_metrics=tuple(facts.key for facts in challenge.case_metrics),
        profile=profile or challenge.profile,
    )


def read_run_values(folder: Path, *, wanted: Wanted) -> RunValues:
    """Read one run's folder into arrays.

    Args:
        folder: The run's folder.
        wanted: What is read of the scores.

    Raises:
        ConfigurationError: the folder holds no run.
        InfrastructureError: a record is damaged.
    """
    record = read_run_record(folder)
    seal = _unbroken_seal(folder, record)
    start, key = chain_start(folder), known_key()

    def journal(name: str, end: JournalEnd | None) -> _Journal:
        vouched = end.lines if end else 0
        return _Journal(folder / name, Chain(start, key, signer=record.key, vouched=vouched), end)

    values = assemble(
        folder,
        record,
        _executions(journal(CASES_FILE, seal.cases if seal else None)),
        _scores(journal(SCORES_FILE, seal.scores if seal else None), wanted.label_metrics),
        wanted,
    )
    return replace(values, signed=key is not None and record.key == key.id)


def refuse_unsigned(runs: Iterable[RunValues]) -> None:
    """Refuse runs that this host did not sign, if it has a key to sign with.

    Whoever can write to the results can take a run's signatures away, or sign with a key of their own.

    Raises:
        ConfigurationError: there are some.
    """
    others = [run for run in runs if not run.signed]
    if not others or known_key() is None:
        return
    named = ", ".join(f"{run.record.team} {run.record.run}" for run in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    raise ConfigurationError(
        f"{len(others)} run(s) are not signed with this host's key",
        where=f"{named}{more}",
        mend="Give the key that signed them as FLAREHARNESS_KEY, move their folders away, "
        "or take their numbers as they stand with --unsigned.",
    )


def _unbroken_seal(folder: Path, record: RunRecord) -> Seal | None:
    """Return a run's seal, or None for a run that was made before there were any.

    Raises:
        InfrastructureError: run.json or the seal was changed, or they are of another folder.
    """
    if not record.key and not (folder / SEAL_FILE).exists():
        place = folder.resolve()
        if (place.name, place.parent.name) != (record.run, record.team):
            raise _broken(folder, f"its record is of team {record.team}, run {record.run}")
        return None
    seal, faults = judged_seal(folder, record, known_key())
    if faults:
        raise _broken(folder / SEAL_FILE, faults[0])
    return seal


def _broken(where: object, fault: str) -> InfrastructureError:
    return InfrastructureError(
        f"a run was changed: {fault}",
        where=where,
        mend="`harness verify` lists all that was; move the run's folder away to rank the others.",
    )


def _executions(journal: _Journal) -> Iterator[ExecutionFacts]:
    for line in journal.lines(_EXECUTION):
        usage: Mapping[str, Any] = line["usage"]
        yield ExecutionFacts(
            case=line["case"],
            outcome=line["outcome"],
            prediction_sha256=line["prediction"]["sha256"] if line["prediction"] is not None else None,
            lower_bound=usage.get("peak_memory_method") == LOWER_BOUND,
            resources=(line["stages"].get("run_s"), *map(usage.get, USAGE_FIELDS)),
        )


def _scores(journal: _Journal, metrics: tuple[str, ...]) -> Iterator[ScoreFacts]:
    for line in journal.lines(_SCORE):
        rows = _former_rows if line["schema_version"] == 1 else label_rows
        yield ScoreFacts(
            line["case"],
            line["profile"],
            line["prediction_sha256"],
            line.get("usable", True),
            rows(line["scores"], metrics),
            line.get("case_scores", {}),
            [
                (rows(rater["scores"], metrics), rater.get("case_scores", {}))
                for rater in line.get("raters", ())
            ],
        )


def label_rows(labels: Sequence[Any], metrics: tuple[str, ...]) -> list[tuple[float | None, ...]]:
    """Return the labels of a score line as `ScoreFacts` holds them.

    Args:
        labels: Mappings with `label` and `scores`.
        metrics: The keys wanted.
    """
    if len(metrics) > 1:
        get = itemgetter(*metrics)
        with suppress(KeyError):
            return [(*_FACTS(label), *get(label["scores"])) for label in labels]
    return [
        (*_label_facts(label), *[label["scores"].get(key, ABSENT) for key in metrics])
        for label in labels
        if label.get("scores")
    ]


_FACTS = itemgetter("label", "reference_ml", "prediction_ml")
"""As `_label_facts`, of a label that holds them all, and faster."""


def _label_facts(label: Any) -> tuple[Any, Any, Any]:
    return label["label"], label.get("reference_ml"), label.get("prediction_ml")


def _former_rows(labels: Iterable[Any], metrics: tuple[str, ...]) -> list[tuple[float | None, ...]]:
    """Return the same of a line of version 1, where null says that a label is not annotated."""
    fields = [{key: name for name, key in FORMER_SCORES.items()}.get(metric, "") for metric in metrics]
    return [
        (*_label_facts(label), *[ABSENT if label.get(field) is None else label[field] for field in fields])
        for label in labels
        if label.get("dsc") is not None
    ]


@dataclass
class _Journal:
    """A journal whose every line is followed and compared with the run's seal while it is read.

    Attributes:
        end: How far it went when it was sealed; None where it never was.
    """

    path: Path
    chain: Chain
    end: JournalEnd | None

    def lines(self, kind: TypeAdapter[Parsed]) -> Iterator[Parsed]:
        """Yield the checked lines, except for a torn last one.

        Raises:
            InfrastructureError: a line is damaged, changed or missing.
        """
        check, chain, sealed = kind.validator.validate_json, self.chain, self.end.lines if self.end else 0
        sealed_sha256 = chain.previous
        for line in self._complete():
            try:
                parsed = check(line)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"])
                raise InfrastructureError(
                    f"a record is damaged{f' at {place}' if place else ''}: {first['msg']}",
                    where=f"{self.path}:{chain.lines + 1}",
                    mend="`harness verify` lists every damaged record.",
                ) from error
            if faults := chain.faults(line):
                raise _broken(f"{self.path}:{chain.lines}", faults[0])
            if chain.lines == sealed:
                sealed_sha256 = chain.previous
            yield parsed
        if self.end is not None:
            for fault in end_faults(self.path.name, self.end, lines=chain.lines, last_sha256=sealed_sha256):
                raise _broken(self.path.with_name(SEAL_FILE), fault)

    def _complete(self) -> Iterator[bytes]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                yield line[:-1]


def _counted(
    runs: Iterator[RunValues], total: int, progress: Callable[[int, int], None] | None
) -> Iterator[RunValues]:
    for done, run in enumerate(runs, start=1):
        if progress is not None:
            progress(done, total)
        yield run


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
