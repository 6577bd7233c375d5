"""The command line: `python -m evaluator LABELS PREDICTIONS --challenge NAME --output FILE`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from evaluator._version import __version__
from evaluator.errors import EvaluatorError, ReportedError, RequestError
from evaluator.json_files import read_json
from evaluator.labels import LabelTable
from evaluator.metrics import DEFAULT_METRICS, METRICS, keys_of
from evaluator.progress import Progress
from evaluator.scores import CaseScore, LabelScore
from evaluator.shipped import LABEL_TABLES, PROFILES, label_table
from evaluator.table import LAYOUTS
from evaluator.terminal import in_words, leave_quietly, speak_utf8

_FROM_RATERS = "raters"
SUMMARY = "nnunet"
"""The layout of nnU-Net's summary.json."""

EXIT_FINE = 0
EXIT_UNUSABLE_PREDICTION = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_DESCRIPTION = "Exact Dice, normalised surface Dice and surface distances of label volumes."
_EPILOG = """\
LABELS and PREDICTIONS are two folders with equal file names, or two files (.nii.gz, .nii, .mha, .nrrd).
Every reference gets its rows. A missing or unusable prediction scores as a failure on all labels: Dice 0,
distances infinite. An unusable reference leaves its rows empty. Both have a note, and end no run.

Where cases have several raters, LABELS holds <case>/<rater>.nii.gz or <rater>/<case>.nii.gz: rows are then
against the consensus and against each rater.

`python -m evaluator explain REFERENCE PREDICTION` says why a score is what it is.
`python -m evaluator raters LABELS` says how good people are.

exit codes: 0 all scored or missing, 1 a prediction was unusable or there is none at all, 2 wrong usage, an
unusable reference, or names of predictions that match no reference
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["explain"]:
        from evaluator import explain_command

        return explain_command.main(words[1:])
    if words[:1] == ["raters"]:
        from evaluator import raters_command

        return raters_command.main(words[1:])
    options = _parser().parse_args(words)
    progress = Progress(sys.stderr, quiet=options.quiet)
    try:
        return _run(options, progress)
    except EvaluatorError as error:
        progress.finish()
        print(f"error: {error.one_line()}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        leave_quietly()  # whoever read the output wants no more
        return EXIT_FINE
    except OSError as error:
        progress.finish()
        what, where, mend = in_words(error)
        print(f"error: {ReportedError(what, where=where, mend=mend).one_line()}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        progress.finish()
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(options: argparse.Namespace, progress: Progress) -> int:
    from evaluator.folder import match_folders, named, score_matches
    from evaluator.nnunet import write_summary
    from evaluator.scoring import Scoring
    from evaluator.table import write_scores

    labels = _label_table(options)
    if options.tolerance == _FROM_RATERS:
        labels = _with_raters_tolerances(options, labels, progress)
    for note in labels.notes:
        progress.say(f"note: {note}")
    scoring = Scoring(
        labels,
        profile=options.profile,
        metrics=_metrics(options, labels),
        max_bytes=options.max_memory * 2**20,
    )
    annotated = _annotated(options.annotated, labels)
    matches = match_folders(options.references, options.predictions)
    if matches.unused:
        count = len(matches.unused)
        progress.say(f"{count} prediction{'s' * (count > 1)} without a reference: {named(matches.unused)}")
    progress.start(len(matches.cases))
    summary = _Summary(scoring.metrics)

    def watched(scores: Iterator[CaseScore]) -> Iterator[CaseScore]:
        for score in scores:
            summary.add(score)
            if not score.scored:
                progress.say(f"{score.case}: {score.notes[0]}")
            yield score
            progress.advance()

    scores = watched(score_matches(matches.cases, scoring, annotated=annotated, jobs=options.jobs))
    layout = options.format or ("json" if options.output and options.output.suffix == ".json" else "csv")
    if layout == SUMMARY:
        write = partial(write_summary, labels=labels, files=matches.cases)
    else:
        raters = any(case.raters for case in matches.cases)
        write = partial(write_scores, labels=labels, metrics=scoring.metrics, layout=layout, raters=raters)
    _write(partial(write, scores), options.output)
    progress.finish()
    if not options.quiet:
        print(summary.text(), file=sys.stderr)
    return summary.exit_code()


def _write(table: Callable[[TextIO], None], output: Path | None) -> None:
    if output is None:
        table(sys.stdout)
        return
    with _Replacing(output) as file:
        table(file)


class _Summary:
    """Counts and means for the closing line."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self._cases = self._missing = 0
        self._unusable = {"prediction": 0, "reference": 0}
        self._means: dict[str, list[float]] = {key: [] for key in metrics}
        self._rows: dict[str, Counter[str]] = {key: Counter() for key in metrics}

    def add(self, score: CaseScore) -> None:
        self._cases += 1
        if score.unusable:
            self._unusable[score.unusable] += 1
        elif not score.scored:
            self._missing += 1
        for key, values in self._means.items():
            values.append(score.mean(key))
            self._rows[key].update(_kind_of_value(label, key) for label in score)

    def exit_code(self) -> int:
        if self._unusable["reference"]:
            return EXIT_USAGE
        is_nothing_there = self._missing == self._cases
        return EXIT_UNUSABLE_PREDICTION if self._unusable["prediction"] or is_nothing_there else EXIT_FINE

    def text(self) -> str:
        parts = [f"{self._cases} case{'' if self._cases == 1 else 's'}"]
        parts += [f"{self._missing} without a prediction"] if self._missing else []
        for side, count in self._unusable.items():
            parts += [f"{count} with an unusable {side}"] if count else []
        parts += [
            text for key, values in self._means.items() if (text := _mean_text(key, values, self._rows[key]))
        ]
        return ", ".join(parts)


def _kind_of_value(label: LabelScore, key: str) -> str:
    if math.isnan(label.scores.get(key, math.nan)):
        return "left out"
    return "by rule" if key in label.replaced else "computed"


def _mean_text(key: str, values: Sequence[float], rows: Counter[str]) -> str:
    """Return the mean over the cases with a finite value, and what it is made of; or an empty text.

    Beside it stand how many labels of cases were computed, were given a value by the rules for missing ones,
    and are undefined and left out.
    """
    facts = METRICS[key].facts
    finite = [value for value in values if math.isfinite(value)]
    infinite = sum(math.isinf(value) for value in values)
    if not finite:
        return ""
    unit = f" {facts.unit}" if facts.unit else ""
    made_of = [f"n {rows['computed']}"]
    made_of += [f"{rows[kind]} {kind}" for kind in ("by rule", "left out") if rows[kind]]
    made_of += [f"{infinite} infinite"] if infinite else []
    return f"mean {facts.title} {sum(finite) / len(finite):.4f}{unit} ({'; '.join(made_of)})"


class _Replacing:
    """Open a file to write that takes the old one's place only when all went well.

    What is no plain file (a device, a pipe, a link to anything) is written to, and never replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._replaces = not path.is_symlink() and (path.is_file() or not path.exists())
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part") if self._replaces else path

    def __enter__(self) -> TextIO:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise RequestError(f"cannot write the output: {error.strerror}", where=self._path) from error
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if not self._replaces:
            return
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)


def _annotated(path: Path | None, labels: LabelTable) -> dict[str, Collection[int]] | None:
    """Return the annotated labels of each case from a JSON file: {"case": [1, 2, 3], ...}."""
    if path is None:
        return None

    def by_case(stated: Mapping[str, Iterable[Any]]) -> dict[str, Collection[int]]:
        return {str(case): frozenset(int(value) for value in values) for case, values in stated.items()}

    return read_json(
        path,
        by_case,
        what="the list of annotated labels",
        mend='Write {"case": [1, 2, 3]} with the labels that each partially annotated case holds',
    )


def _label_table(options: argparse.Namespace) -> LabelTable:
    """Return the labels to score: of a shipped challenge or a file, or some of them."""
    if options.challenge is None and options.labels is None:
        if options.profile not in LABEL_TABLES:
            raise RequestError(
                "the labels are not said",
                mend="Give --labels FILE or --challenge NAME, or a profile with labels",
            )
        options.challenge = options.profile
    if options.challenge is not None:
        if options.tolerance not in (None, _FROM_RATERS):
            raise RequestError("--tolerance goes with --labels", mend="A challenge states its tolerances")
        labels = label_table(options.challenge)
    else:
        from evaluator.label_files import DEFAULT_TOLERANCE_MM, label_table_from_file

        numbers = str(options.labels)
        if numbers.replace(",", "").isdecimal() and not options.labels.exists():
            raise RequestError(
                f"{numbers!r} is no labels file", mend=f"Write --only {numbers} to choose labels"
            )
        stated = DEFAULT_TOLERANCE_MM if options.tolerance == _FROM_RATERS else options.tolerance
        labels = label_table_from_file(options.labels, tolerance_mm=stated)
    return labels if options.only is None else labels.subset(_numbers(options.only))


def _with_raters_tolerances(
    options: argparse.Namespace, labels: LabelTable, progress: Progress
) -> LabelTable:
    """Return the labels with the tolerances that the references' raters give, each said."""
    from evaluator.raters import tolerances_mm, with_tolerances
    from evaluator.raters_command import disagreements
    from evaluator.scoring import Scoring

    found = list(disagreements(options.references, Scoring(labels), progress))
    return with_tolerances(labels, tolerances_mm(found, labels))


def _tolerance(text: str) -> float | str:
    return text if text == _FROM_RATERS else float(text)


def _metrics(options: argparse.Namespace, labels: LabelTable) -> tuple[str, ...]:
    """Return the metrics that were asked for, or those that the profile's script reports."""
    from evaluator.shipped import profile_named

    if options.metrics is not None:
        return keys_of(options.metrics.split(","))
    return keys_of(profile_named(options.profile, labels.name).metrics or DEFAULT_METRICS)


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise RequestError(f"{text!r} is no list of labels", mend="Write --only 1,2,3") from None


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluator",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("references", metavar="LABELS", type=Path, help="folder of reference labels, or one file")
    add("predictions", metavar="PREDICTIONS", type=Path, help="folder of predictions, or one file")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="labels and tolerances: a TOML with [[labels]], or a dataset.json of nnU-Net or MONAI",
    )
    which.add_argument("--challenge", choices=list(LABEL_TABLES), help="those of a shipped challenge")
    add(
        "--metrics",
        metavar="KEYS",
        help=f"any of {','.join(METRICS)}, or hd and a percentile, such as hd99; by default the profile's,"
        f" else {','.join(DEFAULT_METRICS)}",
    )
    add(
        "--profile",
        default="exact",
        choices=list(PROFILES),
        metavar="NAME",
        help="exact: all of every volume, checked geometry (default); else the rules of an official script: "
        + ", ".join(name for name in PROFILES if name != "exact"),
    )
    add("--output", type=Path, metavar="FILE", help="where to write; standard output by default")
    add("--format", choices=(*LAYOUTS, SUMMARY), help="csv: a row per case and label (default)")
    add("--only", metavar="1,2,3", help="score only these labels")
    add(
        "--tolerance",
        type=_tolerance,
        metavar="MM",
        help="NSD tolerance of labels whose file states none; `raters`: of all, as raters are apart",
    )
    add("--annotated", type=Path, metavar="FILE", help='JSON {"case": [labels]} of partially annotated cases')
    add("--jobs", type=_positive, metavar="N", help="cases at a time; one per core by default")
    add(
        "--max-memory",
        type=_positive,
        default=4096,
        metavar="MIB",
        help="for reading one volume (%(default)s)",
    )
    add("--quiet", action="store_true", help="no progress and no summary")
    add("--version", action="version", version=f"evaluator {__version__}")
    return parser


if __name__ == "__main__":
    speak_utf8()
    sys.exit(main())
