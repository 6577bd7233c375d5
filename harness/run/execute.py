"""Run one case: stage, run its container, harvest, and say how it ended."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from harness.data.dataset import file_sha256
from harness.engine.base import StartRefused
from harness.errors import InfrastructureError
from harness.gate.harvest import take_census
from harness.gate.output import Output, Verdict, judge_output
from harness.results.records import Evidence, ExecutionRecord, Outcome
from harness.run.access import restore_access
from harness.run.container import Ran, run_container
from harness.run.context import Bench, Job
from harness.run.outcome import OUTPUT_ENTRIES_LIMIT, Observed, classify
from harness.run.stage import Stage, discard, discard_stages, stage_case

_LOG_END = 8192
_LOG_FILE = "container.log"
_TIMELINE_FILE = "timeline.csv"
_READ_ONLY = (b"Read-only file system", b"Errno 30", b"EROFS")


def execute_case(
    job: Job,
    *,
    bench: Bench,
    stage_changed: Callable[[str], None] = lambda stage: None,
    stopping: threading.Event | None = None,
) -> ExecutionRecord:
    """Run one case in a fresh container and return what happened; nothing of it keeps running.

    Args:
        job: The case and its rules.
        bench: This host's places and instruments.
        stage_changed: Told of stage, run and harvest.
        stopping: Set from another thread to kill the container and give up.

    Raises:
        Interrupted: `stopping` was set.
    """
    started_at = datetime.now(UTC)
    stage: Stage | None = None
    ran: Ran | None = None
    harvest_s: float | None = None
    try:
        stage_changed("stage")
        stage = stage_case(job.case, job.rules, bench.places)
        kept = bench.places.kept(job.case.id)
        discard(kept)  # an attempt that failed on our side may have left some of its files
        kept.mkdir(parents=True, exist_ok=True)
        ran = run_container(
            job,
            stage,
            bench.instruments,
            stopping=stopping or threading.Event(),
            running=lambda: stage_changed("run"),
        )
        stage_changed("harvest")
        begin = time.monotonic()
        restore_access(stage.space, bench.instruments.engine, label=job.rules.label)
        verdict = _verdict(job, bench, stage, ran, kept)
        harvest_s = time.monotonic() - begin
    except StartRefused as error:
        ran = None
        evidence = Evidence(summary=f"the container could not be started: {error}")
        verdict = Verdict(Outcome.START_FAILED, evidence)
    except (InfrastructureError, OSError) as error:
        ran = None
        verdict = Verdict(Outcome.INFRASTRUCTURE, Evidence(summary=str(error)))
    finally:
        if stage is not None:
            discard_stages(stage.folder)
    record = ExecutionRecord(
        case=job.case.id,
        attempt=job.attempt,
        outcome=verdict.outcome,
        evidence=verdict.evidence,
        started_at=started_at,
        prediction=verdict.prediction,
        notes=verdict.notes,
    )
    if ran is None:
        return record
    stages = ran.stages.model_copy(update={"harvest_s": harvest_s})
    files = {name: file_sha256(bench.places.kept(job.case.id) / name) for name in (_LOG_FILE, _TIMELINE_FILE)}
    return record.model_copy(update={"stages": stages, "usage": ran.usage, "files": files})


def _verdict(job: Job, bench: Bench, stage: Stage, ran: Ran, kept: Path) -> Verdict:
    """Decide by the container's end first, then by what it wrote."""
    (kept / _LOG_FILE).write_bytes(ran.log.content())
    ran.watched.timeline.write_csv(kept / _TIMELINE_FILE)
    census = take_census(stage.outputs, most_entries=OUTPUT_ENTRIES_LIMIT)
    seen = Observed(
        exit_code=ran.state.exit_code,
        oom_killed=ran.state.oom_killed or ran.watched.oom_kills > 0,
        run_s=ran.watched.run_s,
        stop=ran.watched.stop,
        stop_value=ran.watched.stop_value,
        output_bytes=census.size_bytes,
        output_entries=census.entries,
        peak_memory_bytes=ran.usage.peak_memory_bytes,
        last_log_line=ran.log.last_line(),
        engine_error=ran.state.error,
        full=ran.watched.full,
        silent=ran.log.total_bytes == 0,
        gpu_taken=ran.gpu_taken,
        met_read_only=any(text in ran.log.content()[-_LOG_END:] for text in _READ_ONLY),
    )
    if (failure := classify(seen, job.rules.limits)) is not None:
        return failure
    with contextlib.suppress(OSError):
        stage.outputs.chmod(0o700)  # the container may have closed it to us
    assert job.case.image is not None
    verdict = judge_output(
        Output(stage.outputs, stage.expected, job.rules.limits.output_bytes),
        reference=job.case.image,
        gatekeeper=bench.instruments.gatekeeper,
        run_folder=bench.places.folder,
        keep_as=f"cases/{job.case.id}/prediction{job.rules.contract.output_suffix}",
    )
    evidence = seen.evidence(verdict.evidence.summary)
    return Verdict(verdict.outcome, evidence, verdict.prediction, verdict.notes)
