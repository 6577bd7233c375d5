"""What `harness check` says of a case: its outcome against the limits, and what to change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from nibabel.orientations import aff2axcodes

from evaluator.errors import EvaluatorError
from evaluator.volume import read_label_volume
from harness.challenge import Challenge
from harness.challenge.metrics import facts_of, in_a_line
from harness.cli.display import say
from harness.data.dataset import Case
from harness.results.folder import RunResults
from harness.results.records import ExecutionRecord, Outcome, ScoreRecord
from harness.scoring.mixups import Mixup, find_mixup
from harness.submission.hints import Hint, hints
from harness.text import printable

_LOG_LINES = 20
_LOG_BYTES = 200_000
_MIB = 1024**2
_SIDES = {"L": "left and right", "R": "left and right", "A": "front and back", "P": "front and back"}


@dataclass(frozen=True)
class CaseAdvice:
    """What a case showed.

    Attributes:
        case: Its id.
        succeeded: Whether it would be scored.
        lines: What is printed to stdout.
        log: The end of its log, for stderr.
        hints: What to change.
    """

    case: str
    succeeded: bool
    lines: Sequence[str]
    log: Sequence[str]
    hints: Sequence[Hint]


def advise(finished: RunResults, cases: Sequence[Case]) -> list[CaseAdvice]:
    """Say of each case how it went and what to change."""
    scores = {score.case: score for score in finished.scores}
    by_id = {case.id: case for case in cases}
    return [
        _of_case(finished, execution, scores.get(name), by_id[name])
        for name, execution in finished.final_executions().items()
    ]


def _of_case(
    finished: RunResults, execution: ExecutionRecord, score: ScoreRecord | None, case: Case
) -> CaseAdvice:
    rules = finished.record.challenge
    log = _log_of(finished.folder / "cases" / execution.case / "container.log")
    succeeded = execution.outcome is Outcome.SUCCEEDED
    if succeeded:
        found = _of_scores(finished.folder, execution, score, case, rules)
    else:
        found = hints(execution, log, rules, gpu=rules.limits.gpu)
    tail = [] if succeeded else log.splitlines()[-_LOG_LINES:]
    return CaseAdvice(execution.case, succeeded, _facts(finished, execution, score), tail, found)


def _facts(finished: RunResults, execution: ExecutionRecord, score: ScoreRecord | None) -> list[str]:
    limits, usage = finished.record.limits, execution.usage
    lines = [f"outcome: {execution.outcome.value} ({printable(execution.evidence.summary)})"]
    if execution.stages.run_s is not None:
        lines.append(f"time: {execution.stages.run_s:.1f} s of {limits.time_s:.0f} s")
    if usage.peak_memory_bytes is not None:
        lines.append(
            f"peak memory: {usage.peak_memory_bytes / _MIB:.0f} MiB of {limits.memory_bytes / _MIB:.0f} MiB"
        )
    for label in score.scores if score is not None else ():
        known = {key: value for key, value in label.scores.items() if value is not None}
        if known:
            means = ", ".join(in_a_line(facts_of(key), value) for key, value in known.items())
            empty = label.reference_ml == 0 and label.prediction_ml == 0
            lines.append(f"{label.organ}: {means}{' (in neither volume: says nothing)' if empty else ''}")
    return lines


def _log_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LOG_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _of_scores(
    folder: Path, execution: ExecutionRecord, score: ScoreRecord | None, case: Case, rules: Challenge
) -> list[Hint]:
    """Look at a prediction that is valid and may be wrong all the same."""
    if score is None or case.label is None or execution.prediction is None:
        return []
    counted = [label for label in score.scores if label.scores]
    if not any(label.reference_ml for label in counted):
        return [
            Hint("empty-case", "the reference of this case holds no label", "Choose another one with --case.")
        ]
    if not any(label.prediction_ml for label in counted):
        return [
            Hint(
                "all-zero",
                "the prediction holds no label at all",
                "Look at intensities and orientation on the way in, and at threshold or argmax at the end.",
            )
        ]
    values = [label.label for label in counted if label.label in rules.labels.values]
    mixup = _mixup(case.label, folder / execution.prediction.path, values)
    return [] if mixup is None else [mixup]


def _mixup(reference: Path, prediction: Path, values: Sequence[int]) -> Hint | None:
    try:
        truth, guess = read_label_volume(reference), read_label_volume(prediction)
    except (EvaluatorError, OSError):
        return None
    if truth.array.shape != guess.array.shape or truth.affine is None:
        return None
    found = find_mixup(truth.array, guess.array, values)
    return None if found is None else _in_words(found, truth.affine)


def _in_words(mixup: Mixup, affine: np.ndarray) -> Hint:
    gain = f"DSC would be {mixup.after:.2f} instead of {mixup.before:.2f} if"
    if mixup.axis is not None:
        side = _SIDES.get(str(aff2axcodes(affine)[mixup.axis]), "head and feet")  # type: ignore[no-untyped-call]
        return Hint(
            "mirrored",
            f"{gain} {side} were swapped",
            "Keep the orientation of the image: undo every flip of the way in, and copy its affine.",
        )
    names = ", ".join(f"{old} were {new}" for old, new in sorted(mixup.names.items()))
    return Hint("renamed", f"{gain} label {names}", "Map the network's classes to the challenge's labels.")


def show_case(advice: CaseAdvice, *, named: bool) -> None:
    """Print what a case showed: facts and hints to stdout, its log to stderr."""
    if named:
        print(f"case: {printable(advice.case)}")
    for line in advice.lines:
        print(line)
    if not advice.succeeded:
        if advice.log:
            say("the end of its log:")
            for line in advice.log:
                say(f"  {line}")
        else:
            say("its log is empty")
    for hint in advice.hints:
        print(printable(hint.line()))


def in_json(advised: Sequence[CaseAdvice], *, errors: Sequence[str], verdict: str) -> str:
    """Return what was found as JSON, for scripts."""
    cases = [
        {
            "case": advice.case,
            "succeeded": advice.succeeded,
            "facts": list(advice.lines),
            "hints": [asdict(hint) for hint in advice.hints],
        }
        for advice in advised
    ]
    accepted = not errors and all(advice.succeeded for advice in advised)
    told = {"accepted": accepted, "verdict": verdict, "image_errors": list(errors), "cases": cases}
    return json.dumps(told, indent=1, ensure_ascii=False)


def summary(advised: Sequence[CaseAdvice], *, errors: Sequence[str]) -> str:
    """Say in one line whether the submission would be accepted, or what to change first.

    Args:
        advised: The cases that were run.
        errors: What lint calls errors, each as a mend.
    """
    lost = [advice for advice in advised if not advice.succeeded]
    if not lost and not errors:
        doubted = next((hint for advice in advised for hint in advice.hints), None)
        more = f", but look at this first: {doubted.message}. {doubted.mend}" if doubted else ""
        said = "this submission would be accepted" if more else "this submission would be accepted."
        return f"{said}{more}"
    first = next((hint.mend for advice in lost for hint in advice.hints), "") or next(iter(errors), "")
    failed = (
        f"{len(lost)} of {len(advised)} case(s) failed" if lost else f"{len(errors)} error(s) in the image"
    )
    return f"this submission would not be accepted: {failed}." + (f" Change first: {first}" if first else "")
