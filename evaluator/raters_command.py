"""The command line: `python -m evaluator raters LABELS --labels FILE`."""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from evaluator.errors import EvaluatorError, RequestError
from evaluator.labels import LabelTable
from evaluator.metrics import DEFAULT_METRICS, METRICS, keys_of
from evaluator.progress import Progress
from evaluator.shipped import LABEL_TABLES, PROFILES, label_table

if TYPE_CHECKING:
    from evaluator.raters import Against, Disagreement
    from evaluator.scores import CaseScore
    from evaluator.scoring import Scoring


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0, or 2 where nothing can be compared."""
    options = _parser().parse_args(arguments)
    progress = Progress(sys.stderr, quiet=options.quiet)
    try:
        write_levels(options, progress)
    except EvaluatorError as error:
        progress.finish()
        print(f"error: {error.one_line()}", file=sys.stderr)
        return 2
    return 0


def write_levels(options: argparse.Namespace, progress: Progress) -> None:
    """Compare the raters and write the human level and the tolerances that follow.

    Raises:
        EvaluatorError: A file cannot be read or written, grids differ, or no case has two raters.
    """
    if options.cases and options.predictions is not None:
        raise RequestError(
            "--cases has rows of people alone",
            mend="Leave out --predictions; `python -m evaluator LABELS PREDICTIONS` has the method's",
        )
    if options.against == "consensus" and options.predictions is not None:
        raise RequestError(
            "people meet a consensus of one vote less than predictions do, so the two cannot be compared",
            mend="Leave out --against consensus",
        )
    from evaluator.label_files import DEFAULT_TOLERANCE_MM, label_table_from_file
    from evaluator.raters import tolerances_mm
    from evaluator.scoring import Scoring

    if options.challenge is not None:
        labels = label_table(options.challenge)
    elif options.labels is not None:
        labels = label_table_from_file(options.labels, tolerance_mm=DEFAULT_TOLERANCE_MM)
    elif options.profile in LABEL_TABLES:
        labels = label_table(options.profile)
    else:
        raise RequestError("the labels are not said", mend="Give --labels FILE or --challenge NAME")
    metrics = keys_of(options.metrics.split(",")) if options.metrics else DEFAULT_METRICS
    scoring = Scoring(labels, profile=options.profile, metrics=metrics)
    found = tuple(disagreements(options.references, scoring, progress, against=options.against))
    with ExitStack() as stack:
        output = sys.stdout
        if options.output is not None:
            try:
                output = stack.enter_context(options.output.open("w", encoding="utf-8", newline=""))
            except OSError as error:
                raise RequestError(
                    f"cannot write the output: {error.strerror}", where=options.output
                ) from error
        if options.cases:
            _write_cases(found, output)
        else:
            who = {"people": [case.level() for case in found]}
            if options.predictions is not None:
                cases = [case.case for case in found]
                who["predictions"] = _of_predictions(options, scoring, cases, progress)
            _write_means(who, labels, metrics, tolerances_mm(found, labels), output)


def _of_predictions(
    options: argparse.Namespace, scoring: Scoring, cases: Sequence[str], progress: Progress
) -> list[CaseScore]:
    """Return the scores of a method in the cases that have several raters, against what people are."""
    from evaluator.folder import score_folder
    from evaluator.raters import against_single_raters

    progress.start(len(cases))
    scores = []
    for score in score_folder(options.references, options.predictions, scoring, cases=cases):
        scores.append(against_single_raters(score))
        progress.advance()
    progress.finish()
    return scores


def disagreements(
    references: Path, scoring: Scoring, progress: Progress, *, against: Against = "single"
) -> Iterator[Disagreement]:
    """Yield how far the raters of each case are apart, where a case has two or more.

    Args:
        references: A folder with a folder a case or a rater, or the folder of one case.
        scoring: Labels, rules and metrics.
        progress: Told after each case.
        against: Each of the other raters, or their consensus.

    Raises:
        EvaluatorError: A file cannot be read, grids differ, or no case has two raters.
    """
    from evaluator.buffers import BufferPool
    from evaluator.folder import rater_matches
    from evaluator.raters import disagreement

    matches = rater_matches(references)
    progress.start(len(matches))
    buffers, compared = BufferPool(), 0
    for case in matches:
        case.check()
        found = disagreement(case.case, case.raters, scoring, against=against, buffers=buffers)
        progress.advance()
        if found is not None:
            compared += 1
            yield found
    progress.finish()
    if not compared:
        raise RequestError(
            "no case has two raters",
            where=references,
            mend="Put the files there as <case>/<rater>.nii.gz, or <rater>/<case>.nii.gz",
        )


def _write_means(
    levels_of: Mapping[str, Sequence[CaseScore]],
    labels: LabelTable,
    metrics: Sequence[str],
    tolerances: Mapping[int, float],
    output: TextIO,
) -> None:
    writer = csv.writer(output, lineterminator="\n")
    columns = [METRICS[key].facts.column for key in metrics]
    with_who = len(levels_of) > 1
    writer.writerow((*(("who",) if with_who else ()), "label", "organ", "cases", *columns, "tolerance_mm"))
    for who, levels in levels_of.items():
        for place, label in enumerate(labels):
            means = [
                _mean([score.labels[place].scores.get(key, math.nan) for score in levels]) for key in metrics
            ]
            tolerance = tolerances.get(label.value)
            shown = "" if tolerance is None else repr(tolerance)
            start = (who,) if with_who else ()
            writer.writerow((*start, label.value, label.name, len(levels), *means, shown))


def _mean(values: Sequence[float]) -> str:
    known = [value for value in values if not math.isnan(value)]
    return repr(sum(known) / len(known)) if known else ""


def _write_cases(found: Sequence[Disagreement], output: TextIO) -> None:
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(("case", "label", "organ", "rater", "metric", "value"))
    for case in found:
        for score in case.raters.values():
            for row in score.records():
                value = row["value"]
                writer.writerow([*list(row.values())[:-1], "" if math.isnan(value) else repr(value)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluator raters",
        description="The human level: each rater scored against each of the others, and the"
        " tolerances of NSD that follow from how far raters are apart",
    )
    add = parser.add_argument
    add(
        "references",
        metavar="LABELS",
        type=Path,
        help="folder of <case>/<rater>.nii.gz or <rater>/<case>.nii.gz, or of one case's raters",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--labels", type=Path, metavar="FILE", help="labels, as for scoring")
    which.add_argument("--challenge", choices=list(LABEL_TABLES), help="those of a shipped challenge")
    add("--metrics", metavar="KEYS", help=f"what to compute; by default {','.join(DEFAULT_METRICS)}")
    add("--profile", default="exact", choices=list(PROFILES), metavar="NAME", help="the rules")
    add(
        "--against",
        default="single",
        choices=("single", "consensus"),
        help="score each rater against each of the others, averaged (default), or against their consensus",
    )
    add(
        "--predictions",
        type=Path,
        metavar="FOLDER",
        help="rows of a method beside the people's, over the same cases and against each rater, averaged",
    )
    add("--cases", action="store_true", help="a row per case, label, rater and metric")
    add("--output", type=Path, metavar="FILE", help="where to write; standard output by default")
    add("--quiet", action="store_true", help="no progress")
    return parser
