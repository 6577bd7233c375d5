"""Codabench's scoring program: `ref/` and `res/` in, `scores.json` and `detailed_results.html` out.

`python -m evaluator.platforms.codabench RULES INPUT OUTPUT`, as `metadata.yaml` of the bundle's scoring
program calls it. The worker mounts the program at `/app/program`, the reference data at `/app/input/ref` and
what the participant handed in at `/app/input/res`, and takes the two files from `/app/output`
(https://github.com/codalab/codabench, compute_worker/compute_worker.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from evaluator.case_input import case_name
from evaluator.errors import EvaluatorError, MissingFileError, ReportedError
from evaluator.folder import named
from evaluator.header import SUFFIXES
from evaluator.platforms.means import CaseResult, finite, means_of
from evaluator.platforms.page import page_of
from evaluator.platforms.references import references_of, result_of, volumes_folder
from evaluator.platforms.rules import PlatformRules, rules_from_json
from evaluator.table import write_scores
from evaluator.terminal import in_words, speak_utf8
from evaluator.threads import usable_cores


def main(arguments: Sequence[str] | None = None) -> int:
    """Score what a participant handed in, and return the exit code: 0 if scores.json was written."""
    parser = argparse.ArgumentParser(prog="python -m evaluator.platforms.codabench")
    parser.add_argument("rules", type=Path, help="what `harness platform` wrote of the challenge")
    parser.add_argument("input", type=Path, help="the worker's input folder, with ref/ and res/")
    parser.add_argument("output", type=Path, help="where scores.json and detailed_results.html go")
    options = parser.parse_args(arguments)
    try:
        rules = rules_from_json(options.rules)
        results, errors = score(rules, options.input / "ref", options.input / "res")
        write(results, errors, rules, options.output)
    except EvaluatorError as error:
        sys.stderr.write(f"error: {error.one_line()}\n")
        return 1
    except OSError as error:
        what, where, mend = in_words(error)
        sys.stderr.write(f"error: {ReportedError(what, where=where, mend=mend).one_line()}\n")
        return 1
    return 0


def score(rules: PlatformRules, reference: Path, submitted: Path) -> tuple[list[CaseResult], list[str]]:
    """Score every case of the reference data, and return the results and what else a participant should know.

    Args:
        rules: The challenge's.
        reference: Label volumes named after their cases, directly in it or in its only folder.
        submitted: Predictions of the same names, in the same way.

    Raises:
        MissingFileError: There are no references, or none of the predictions has the name of one.
    """
    references = references_of(reference)
    predictions, errors = _predictions(volumes_folder(submitted), references)
    workers = max(1, min(usable_cores(), len(references)))
    scoring = replace(rules.scoring, threads=None if workers == 1 else 1)

    def scored(case: str) -> CaseResult:
        given = predictions.get(case, "no prediction of this name was handed in")
        prediction, fault = (None, given) if isinstance(given, str) else (given, "")
        return result_of(case, references[case], prediction, rules, scoring, fault=fault)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(scored, references)), errors


def write(results: Sequence[CaseResult], errors: Sequence[str], rules: PlatformRules, folder: Path) -> None:
    """Write scores.json, detailed_results.html and scores.csv, a line per case and label."""
    folder.mkdir(parents=True, exist_ok=True)
    # Codabench keeps ten decimals.
    means = {key: round(finite(value) or 0.0, 10) for key, value in means_of(results, rules).items()}
    failed = sum(result.failed for result in results)
    scores = json.dumps({**means, "failed_cases": failed}, indent=1, allow_nan=False) + "\n"
    page = page_of(results, errors, rules)
    with (folder / "scores.csv").open("w", encoding="utf-8", newline="") as file:
        write_scores((result.score for result in results), file, labels=rules.labels, metrics=rules.metrics)
    (folder / "detailed_results.html").write_text(page, encoding="utf-8")
    (folder / "scores.json").write_text(scores, encoding="utf-8")


def _predictions(folder: Path, references: Mapping[str, Path]) -> tuple[dict[str, Path | str], list[str]]:
    """Return each case's file, or why it is not clear which; and what to say of files of no case."""
    found: dict[str, list[Path]] = {}
    strange: list[Path] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_file() and path.name.lower().endswith(SUFFIXES) and not path.name.startswith("."):
            case = case_name(path)
            if case in references:
                found.setdefault(case, []).append(path)
            else:
                strange.append(path)
    first = next(iter(references.values())).name
    if not found:
        raise MissingFileError(
            f"no prediction has the name of a case: there are {named(strange)}"
            if strange
            else "no label volume was handed in",
            where="res",
            mend=f"Hand in one file per case, named like {first}",
        )
    errors = [f"belongs to no case, so not scored: {named(strange)}"] if strange else []
    return {
        case: paths[0] if len(paths) == 1 else f"several files are this case by their names: {named(paths)}"
        for case, paths in found.items()
    }, errors


if __name__ == "__main__":
    speak_utf8()
    sys.exit(main())
