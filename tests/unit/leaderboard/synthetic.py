"""Made-up results for tests: runs as the records on disk hold them, without running anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from harness import leaderboard
from harness.challenge import Challenge, load_challenge
from harness.leaderboard.reading import wanted_of
from harness.leaderboard.values import (
    ABSENT,
    LOWER_BOUND,
    USAGE_FIELDS,
    ExecutionFacts,
    RunValues,
    ScoreFacts,
    Wanted,
    assemble,
)
from harness.results.folder import RunWriter, chain_start, folder_seal, read_run, write_run_record
from harness.results.journal import (
    CASES_FILE,
    RUN_FILE,
    SCORES_FILE,
    Journal,
    complete_lines,
    line_sha256,
    sealed_line,
)
from harness.results.key import signing_key
from harness.results.records import (
    DatasetFacts,
    Evidence,
    ExecutionRecord,
    HostFacts,
    ImageFacts,
    LabelScoreRecord,
    OptOuts,
    Outcome,
    Prediction,
    RunRecord,
    ScoreRecord,
    Stages,
    Usage,
)
from harness.results.seal import SEAL_FILE, JournalEnd, write_seal

START = datetime(2025, 3, 1, 9, 0, tzinfo=UTC)
GIB = 1024**3

HOST = HostFacts(
    cpu_model="EPYC 7413",
    cores=8,
    memory_bytes=64 * GIB,
    kernel="6.1",
    engine="docker 27.3",
    cgroup_version=2,
)


@dataclass(frozen=True)
class Results:
    """What reading a run's folder gives."""

    folder: Path
    record: RunRecord
    executions: tuple[ExecutionRecord, ...] = ()
    scores: tuple[ScoreRecord, ...] = ()


@dataclass(frozen=True)
class Plan:
    """How a made-up team does.

    Attributes:
        dsc: Mean Dice of an easy organ.
        runtime_s: Typical run time.
        memory_bytes: Typical peak memory.
        outcomes: Outcomes other than success, by case index.
        missing: Case indices without any record.
    """

    team: str
    dsc: float = 0.9
    runtime_s: float = 10.0
    memory_bytes: int = 2 * GIB
    gpu_memory_bytes: int | None = None
    outcomes: Mapping[int, Outcome] = field(default_factory=dict)
    missing: Sequence[int] = ()
    title: str = ""
    source: str = "container"
    host: HostFacts | None = HOST
    opt_outs: OptOuts = field(default_factory=OptOuts)
    last_log_line: str = "done"
    fingerprint: str = "f" * 64
    run: str = "run-1"
    profile: str | None = None
    day: int = 0


def make_run(
    plan: Plan,
    *,
    challenge: Challenge | None = None,
    cases: int = 12,
    seed: int = 1,
    folder: Path = Path("results"),
    annotated: Mapping[str, tuple[int, ...]] | None = None,
) -> Results:
    """Return a run of a team over `cases` cases; the same arguments give the same run."""
    challenge = challenge or load_challenge("phantom")
    hardness = np.random.default_rng(seed).uniform(0, 0.08, size=cases)
    names = tuple(f"case_{index:03d}" for index in range(cases))
    marked = dict(annotated or {})
    executions, scores = [], []
    for index, name in enumerate(names):
        if index in plan.missing:
            continue
        generator = np.random.default_rng([seed, index, *plan.team.encode()])
        outcome = plan.outcomes.get(index, Outcome.SUCCEEDED)
        run_s = plan.runtime_s * generator.lognormal(0, 0.2)
        if outcome is Outcome.TIME_LIMIT:
            run_s = challenge.limits.time_s
        good = outcome is Outcome.SUCCEEDED
        executions.append(
            ExecutionRecord(
                case=name,
                outcome=outcome,
                evidence=Evidence(
                    summary="ended well" if good else f"ended as {outcome.value}",
                    exit_code=0 if good else 1,
                    limit=_limit(outcome, challenge),
                    value=_limit(outcome, challenge),
                    last_log_line=plan.last_log_line,
                ),
                started_at=START + timedelta(days=plan.day, seconds=60 * index),
                stages=Stages(run_s=None if plan.source == "predictions" else run_s),
                usage=_usage(plan, run_s, generator),
                prediction=Prediction(path=f"cases/{name}/{name}.nii.gz", sha256="a" * 64, size_bytes=1)
                if good
                else None,
            )
        )
        if good:
            scores.append(_score(plan, name, challenge, generator, hardness[index], marked.get(name)))
    record = RunRecord(
        run=plan.run,
        team=plan.team,
        title=plan.title,
        source=plan.source,
        challenge=challenge,
        limits=challenge.limits,
        dataset=DatasetFacts(name="made-up", fingerprint=plan.fingerprint, cases=names, annotated=marked),
        image=ImageFacts(reference=f"{plan.team}:latest", digest="sha256:" + "b" * 64, size_bytes=3 * GIB),
        opt_outs=plan.opt_outs,
        host=None if plan.source == "predictions" else plan.host,
        versions={"flareharness": "0.0"},
        argv=("harness", "evaluate", plan.team),
        baseline_s=0.4,
        created_at=START + timedelta(days=plan.day),
    )
    return Results(folder / plan.team / plan.run, record, tuple(executions), tuple(scores))


def _limit(outcome: Outcome, challenge: Challenge) -> float | None:
    limits = {
        Outcome.TIME_LIMIT: challenge.limits.time_s,
        Outcome.MEMORY_LIMIT: float(challenge.limits.memory_bytes),
    }
    return limits.get(outcome)


def _usage(plan: Plan, run_s: float, generator: np.random.Generator) -> Usage:
    if plan.source == "predictions":
        return Usage()
    memory = int(plan.memory_bytes * generator.uniform(0.9, 1.1))
    gpu = plan.gpu_memory_bytes
    return Usage(
        peak_memory_bytes=memory,
        peak_memory_method="cgroup-v2-peak",
        peak_working_set_bytes=int(0.8 * memory),
        memory_auc_byte_s=0.7 * memory * run_s,
        cpu_s=run_s * 3,
        cpu_utilisation_auc_percent_s=run_s * 60,
        peak_gpu_memory_bytes=gpu,
        gpu_memory_auc_byte_s=None if gpu is None else 0.6 * gpu * run_s,
    )


def _score(
    plan: Plan,
    case: str,
    challenge: Challenge,
    generator: np.random.Generator,
    hardness: float,
    annotated: tuple[int, ...] | None,
) -> ScoreRecord:
    labels = []
    for position, label in enumerate(challenge.labels):
        dsc = float(np.clip(plan.dsc - 0.015 * position - hardness + generator.normal(0, 0.02), 0, 1))
        counts = annotated is None or label.value in annotated
        labels.append(
            LabelScoreRecord(
                label=label.value,
                organ=label.name,
                scores=_label_scores(dsc, challenge) if counts else {},
                reference_ml=100.0,
                prediction_ml=100.0 * dsc,
            )
        )
    return ScoreRecord(
        case=case,
        profile=plan.profile or challenge.profile,
        evaluator_version="0",
        prediction_sha256="a" * 64,
        reference_sha256="c" * 64,
        scores=tuple(labels),
        case_scores={facts.key: 10 * plan.dsc for facts in challenge.case_metrics},
    )


def _label_scores(dsc: float, challenge: Challenge) -> dict[str, float]:
    """Return every metric of a label; distances grow as the overlap falls."""
    known = {"dsc": dsc, "nsd": min(1.0, dsc + 0.03)}
    return {facts.key: known.get(facts.key, 40 * (1 - dsc)) for facts in challenge.label_metrics}


def values_of(run: Results, wanted: Wanted) -> RunValues:
    """Lay out full records as arrays: what reading the journals must give, too."""
    executions = [
        ExecutionFacts(
            case=execution.case,
            outcome=execution.outcome.value,
            prediction_sha256=execution.prediction.sha256 if execution.prediction is not None else None,
            lower_bound=execution.usage.peak_memory_method == LOWER_BOUND,
            resources=(execution.stages.run_s, *(getattr(execution.usage, name) for name in USAGE_FIELDS)),
        )
        for execution in run.executions
    ]
    scores = [
        ScoreFacts(
            case=score.case,
            profile=score.profile,
            prediction_sha256=score.prediction_sha256,
            usable=score.usable,
            labels=[
                (
                    label.label,
                    label.reference_ml,
                    label.prediction_ml,
                    *(label.scores.get(key, ABSENT) for key in wanted.label_metrics),
                )
                for label in score.scores
                if label.scores
            ],
            case_scores=score.case_scores,
        )
        for score in run.scores
    ]
    return assemble(run.folder, run.record, executions, scores, wanted)


def build(
    runs: Sequence[Results], *, challenge: Challenge, profile: str | None = None, **more: object
) -> leaderboard.Leaderboard:
    """Rank made-up runs as if they had been read from disk."""
    wanted = wanted_of(challenge, profile=profile)
    values = [values_of(run, wanted) for run in runs]
    return leaderboard.build(values, challenge=challenge, profile=profile, **more)


def write_run(run: Results, results: Path) -> Path:
    """Write a run as the harness would, `results/CHALLENGE/TEAM/RUN`, and return its folder."""
    folder = results / run.record.challenge.name / run.record.team / run.record.run
    with RunWriter(folder, run.record) as writer:
        for execution in run.executions:
            writer.add_execution(execution)
        for score in run.scores:
            writer.add_score(score)
    return folder


def write_run_at_once(run: Results, results: Path) -> Path:
    """Write the same bytes as `write_run`, but each file once: no disk is waited for between lines."""
    folder = results / run.record.challenge.name / run.record.team / run.record.run
    key = signing_key()
    write_run_record(folder, run.record.model_copy(update={"key": key.id}))
    ends = []
    for name, records in ((CASES_FILE, run.executions), (SCORES_FILE, run.scores)):
        previous, lines = chain_start(folder), []
        for record in records:
            lines.append(sealed_line(record, previous, key))
            previous = line_sha256(lines[-1])
        (folder / name).write_bytes(b"".join(line + b"\n" for line in lines))
        ends.append(JournalEnd(lines=len(lines), last_sha256=previous))
    write_seal(folder, folder_seal(folder, cases=ends[0], scores=ends[1], key=key.id).signed_by(key))
    return folder


def strip_signatures(folder: Path) -> None:
    """Take key, seal and signatures from a run and make its chain anew, as whoever can write to it can."""
    run = read_run(folder)
    (folder / SEAL_FILE).unlink()
    write_run_record(folder, run.record.model_copy(update={"key": ""}))
    for name, lines in ((CASES_FILE, run.executions), (SCORES_FILE, run.scores)):
        (folder / name).unlink()
        journal: Journal[Any] = Journal(folder / name, start=chain_start(folder))
        for line in lines:
            journal.append(line)
        journal.close()


def copy_run(run: Path, results: Path, team: str) -> Path:
    """Copy a run's folder for another team, chained, signed and sealed as the harness would; far faster."""
    folder = results / run.parents[1].name / team / run.name
    folder.mkdir(parents=True)
    key = signing_key()
    (folder / RUN_FILE).write_text(json.dumps(json.loads((run / RUN_FILE).read_text()) | {"team": team}))
    ends = []
    for name in (CASES_FILE, SCORES_FILE):
        previous, lines = chain_start(folder), []
        for line in complete_lines(run / name):
            before, _, _ = line.rpartition(b'"previous_sha256":"')
            content = before + b'"previous_sha256":"' + previous.encode() + b'","hmac":"%s","sha256":"%s"}'
            signature = f"{key.id}:{key.sign(content.replace(b'%s', b''))}".encode()
            own = line_sha256(content.replace(b"%s", signature, 1).replace(b"%s", b""))
            lines.append(content.replace(b"%s", signature, 1).replace(b"%s", own.encode()))
            previous = line_sha256(lines[-1])
        (folder / name).write_bytes(b"".join(line + b"\n" for line in lines))
        ends.append(JournalEnd(lines=len(lines), last_sha256=previous))
    write_seal(folder, folder_seal(folder, cases=ends[0], scores=ends[1], key=key.id).signed_by(key))
    return folder


def write_evidence(run: Results, folder: Path, *, log: str = "loading weights\nsegmenting\n") -> None:
    """Write what the harness keeps of each case beside the journals: a log and a time line."""
    for execution in run.executions:
        kept = folder / "cases" / execution.case
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "container.log").write_text(f"{log}{execution.case}: {execution.evidence.last_log_line}\n")
        end, peak = execution.stages.run_s, execution.usage.peak_memory_bytes
        if end is None or peak is None:
            continue
        times = np.linspace(0, end, 60)
        shape = np.clip(np.sin(times / end * np.pi) + 0.15 * np.sin(times / end * 25), 0.05, 1)
        lines = [f"{t:.4f},{int(peak * share)},,,," for t, share in zip(times, shape, strict=True)]
        header = "t_s,memory_bytes,working_set_bytes,cpu_s,gpu_memory_bytes,output_bytes"
        (kept / "timeline.csv").write_text("\n".join([header, *lines]) + "\n")
