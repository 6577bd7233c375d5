"""grand-challenge's evaluation method: predictions.json and the ground truth in, metrics.json out.

`python -m evaluator.platforms.grand_challenge RULES`, the entrypoint of the image that
`harness platform grand-challenge` builds. The platform's convention (an entry of predictions.json per
algorithm job with `pk`, `status`, `inputs` and `outputs`; outputs below `/input/PK/output/`; ground truth at
`/opt/ml/input/data/ground_truth`) follows https://grand-challenge.org/documentation/ and the example of an
evaluation method in https://github.com/DIAGNijmegen/demo-challenge-pack.

What is wrong with a job fails its case. Only without predictions.json, rules or references is none written.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluator import __version__
from evaluator.case_input import case_name
from evaluator.errors import EvaluatorError, ReportedError, RequestError
from evaluator.folder import named
from evaluator.header import SUFFIXES
from evaluator.json_files import read_json
from evaluator.platforms.durations import seconds_of
from evaluator.platforms.means import CaseResult, case_value, finite, means_of
from evaluator.platforms.references import references_of, result_of
from evaluator.platforms.rules import PlatformRules, rules_from_json
from evaluator.scoring import Scoring
from evaluator.terminal import in_words, speak_utf8
from evaluator.threads import usable_cores

INPUT = Path("/input")
OUTPUT = Path("/output")
GROUND_TRUTH = Path("/opt/ml/input/data/ground_truth")
_CHANNEL = "_0000"


@dataclass(frozen=True)
class Job:
    """One run of the algorithm, as predictions.json tells of it.

    Attributes:
        pk: The platform's id.
        names: The names of its input images, without their endings.
        prediction: The file that it wrote; None if it wrote none that can be meant.
        fault: Why there is none.
        runtime_s: How long it ran, where the platform measured it.
    """

    pk: str
    names: tuple[str, ...]
    prediction: Path | None
    fault: str = ""
    runtime_s: float | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate a submission, and return the exit code: 0 if metrics.json was written."""
    parser = argparse.ArgumentParser(prog="python -m evaluator.platforms.grand_challenge")
    parser.add_argument("rules", type=Path, help="what `harness platform` wrote of the challenge")
    parser.add_argument("--input", type=Path, default=INPUT, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: %(default)s")
    parser.add_argument("--ground-truth", type=Path, default=GROUND_TRUTH, help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        metrics = evaluate(rules_from_json(options.rules), options.input, options.ground_truth)
        text = json.dumps(metrics, indent=1, allow_nan=False) + "\n"
        (options.output / "metrics.json").write_text(text, encoding="utf-8")
    except EvaluatorError as error:
        sys.stderr.write(f"error: {error.one_line()}\n")
        return 1
    except OSError as error:
        what, where, mend = in_words(error)
        sys.stderr.write(f"error: {ReportedError(what, where=where, mend=mend).one_line()}\n")
        return 1
    return 0


def evaluate(rules: PlatformRules, folder: Path, ground_truth: Path) -> dict[str, Any]:
    """Score every case of the ground truth, and return what metrics.json holds.

    Args:
        rules: The challenge's.
        folder: The platform's `/input`.
        ground_truth: Label volumes named after their cases, directly in it or in its only folder.

    Raises:
        EvaluatorError: There is no predictions.json, or no ground truth.
    """
    references = references_of(ground_truth)
    jobs = read_jobs(folder, output_slug=rules.output_slug)
    by_case, errors = _assigned(jobs, references)
    workers = _workers(len(references))
    scoring = replace(rules.scoring, threads=None if workers == 1 else 1)

    def result(case: str) -> CaseResult:
        return _result(case, references[case], by_case.get(case), rules, scoring)

    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(result, references))
    for each in results:
        if each.notes and not each.score.scored:
            sys.stderr.write(f"{each.score.case}: {each.notes[0]}\n")
    failed = sum(each.failed for each in results)
    return {
        "aggregates": {
            **{key: finite(value) for key, value in means_of(results, rules).items()},
            "cases": len(results),
            "failed_cases": failed,
        },
        "results": [_as_json(each, rules) for each in results],
        "errors": errors,
        "challenge": rules.name,
        "profile": rules.profile,
        "evaluator_version": __version__,
    }


def read_jobs(folder: Path, *, output_slug: str = "") -> list[Job]:
    """Return the algorithm's jobs.

    Args:
        folder: The platform's `/input`.
        output_slug: The socket whose image is scored; empty for the only image that a job puts out.

    Raises:
        MissingFileError: There is no predictions.json.
        RequestError: It is no list of jobs.
    """
    path = folder / "predictions.json"
    entries: Any = read_json(path, lambda content: content, what="the list of predictions")
    if not isinstance(entries, list):
        raise RequestError("the list of predictions is no list", where=path)
    return [_job(entry, folder, output_slug) for entry in entries]


def _job(entry: Any, folder: Path, output_slug: str) -> Job:
    if not isinstance(entry, dict):
        return Job("", (), None, "its entry in predictions.json is no object")
    pk = str(entry.get("pk", ""))
    names = tuple(_image_names(_values(entry, "inputs")))
    durations = [seconds_of(entry.get(name)) for name in ("exec_duration", "invoke_duration")]
    runtime_s = next((seconds for seconds in durations if seconds is not None), None)
    status = entry.get("status", "Succeeded")
    if str(status).lower() != "succeeded":
        return Job(pk, names, None, f"the algorithm's job ended as {status!r}", runtime_s)
    try:
        prediction = _prediction(_values(entry, "outputs"), folder / pk / "output", output_slug)
    except RequestError as error:
        return Job(pk, names, None, error.one_line(), runtime_s)
    return Job(pk, names, prediction, runtime_s=runtime_s)


def _values(entry: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
    values = entry.get(side)
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _socket(value: Mapping[str, Any]) -> Mapping[str, Any]:
    # `interface` was the platform's word before `socket`.
    socket = value.get("socket", value.get("interface"))
    return socket if isinstance(socket, dict) else {}


def _image_names(values: Sequence[Mapping[str, Any]]) -> list[str]:
    names = []
    for value in values:
        image = value.get("image")
        name = image.get("name") if isinstance(image, dict) else None
        if isinstance(name, str) and name:
            names.append(case_name(Path(name)))
    return names


def _prediction(values: Sequence[Mapping[str, Any]], output: Path, slug: str) -> Path:
    """Return the one volume that a job put out.

    Raises:
        RequestError: It is not clear which that is, or there is none.
    """
    sockets = [_socket(value) for value in values]
    images = [socket for socket in sockets if str(socket.get("relative_path", "")).startswith("images/")]
    meant = [socket for socket in sockets if socket.get("slug") == slug] if slug else images
    if len(meant) != 1:
        held = ", ".join(str(socket.get("slug")) for socket in sockets) or "none"
        raise RequestError(
            f"the job has no output {slug!r}" if slug else f"the job has {len(meant)} image outputs",
            where=f"its outputs: {held}",
        )
    relative = str(meant[0].get("relative_path", ""))
    place = output / relative
    files = [place] if place.is_file() else sorted(place.iterdir()) if place.is_dir() else []
    volumes = [path for path in files if path.is_file() and path.name.lower().endswith(SUFFIXES)]
    if len(volumes) != 1:
        what = f"{len(volumes)} label volumes: {named(volumes)}" if volumes else "no label volume"
        others = f"; it holds {named(files)}" if files and not volumes else ""
        raise RequestError(f"the job wrote {what}{others}", where=relative)
    return volumes[0]


def _assigned(jobs: Sequence[Job], references: Mapping[str, Path]) -> tuple[dict[str, Job], list[str]]:
    """Return each case's job, and what to say of jobs that belong to no case, or to one that has a job."""
    by_case: dict[str, Job] = {}
    errors = []
    for job in jobs:
        case = _case_of(job, references)
        if case is None:
            inputs = ", ".join(job.names) or "it names none"
            errors.append(f"job {job.pk or '?'} is not scored: no case has the name of its input: {inputs}")
        elif case in by_case:
            errors.append(f"job {job.pk} is not scored: case {case} has job {by_case[case].pk} already")
        else:
            by_case[case] = job
    return by_case, errors


def _case_of(job: Job, references: Mapping[str, Path]) -> str | None:
    for name in job.names:
        for candidate in (name, name.removesuffix(_CHANNEL)):
            if candidate in references:
                return candidate
    return None


def _result(
    case: str, reference: Path, job: Job | None, rules: PlatformRules, scoring: Scoring
) -> CaseResult:
    if job is None:
        fault = "no job of the algorithm is for this case"
        return result_of(case, reference, None, rules, scoring, fault=fault)
    return result_of(
        case,
        reference,
        job.prediction,
        rules,
        scoring,
        fault=job.fault,
        job=job.pk,
        runtime_s=job.runtime_s,
    )


def _workers(cases: int) -> int:
    # The variable by which the platform's own example lets an administrator bound the memory.
    stated = os.environ.get("GRAND_CHALLENGE_MAX_WORKERS", "")
    most = int(stated) if stated.isdecimal() and int(stated) else usable_cores()
    return max(1, min(most, cases))


def _as_json(result: CaseResult, rules: PlatformRules) -> dict[str, Any]:
    score = result.score
    return {
        "case": score.case,
        "pk": result.job,
        "outcome": "failed" if result.failed else "succeeded" if score.scored else "not counted",
        "notes": list(result.notes),
        "runtime_s": result.runtime_s,
        **{column.key: finite(case_value(result, column, rules)) for column in rules.columns},
        "labels": {
            label.organ: {key: finite(value) for key, value in label.scores.items()} if score.scored else {}
            for label in score.labels
        },
    }


if __name__ == "__main__":
    speak_utf8()
    sys.exit(main())
