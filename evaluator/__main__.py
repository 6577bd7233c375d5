"""The command line: `python -m evaluator LABELS PREDICTIONS --challenge NAME --output FILE`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from evaluator._version import __version__
from evaluator.errors import EvaluatorError, MissingFileError, RequestError
from evaluator.labels import LABEL_TABLES, LabelTable, label_table
from evaluator.progress import Progress

EXIT_FINE = 0
EXIT_UNUSABLE_PREDICTION = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_DESCRIPTION = "Exact Dice and normalised surface Dice of label volumes."
_EPILOG = """\
LABELS and PREDICTIONS are two folders with equal file names, or two files (.nii.gz, .nii, .mha, .nrrd).
Every reference gets its rows: a missing or unusable prediction scores 0 on all labels, with a note.

exit codes: 0 all scored or missing, 1 a prediction was unusable, 2 wrong usage or a bad reference
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    progress = Progress(sys.stderr, quiet=options.quiet)
    try:
        return _run(options, progress)
    except EvaluatorError as error:
        progress.finish()
        print(f"error: {error.one_line()}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        # Whoever read the output wants no more; point it elsewhere so that closing it does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FINE
    except KeyboardInterrupt:
        progress.finish()
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(options: argparse.Namespace, progress: Progress) -> int:
    from evaluator.folder import score_folder
    from evaluator.scores import CaseScore
    from evaluator.table import Format, write_scores

    labels = label_table(options.challenge)
    if options.labels is not None:
        labels = labels.subset(_numbers(options.labels))
    layout: Format = options.format or (
        "json" if options.output and options.output.suffix == ".json" else "csv"
    )
    summary = _Summary()

    def watched(scores: Iterator[CaseScore]) -> Iterator[CaseScore]:
        for score in scores:
            summary.add(score.scored, score.mean_dsc, score.mean_nsd, score.notes)
            if not score.scored:
                progress.say(f"{score.case}: {score.notes[0]}")
            yield score
            progress.advance()

    scores = score_folder(
        options.references,
        options.predictions,
        labels=labels,
        profile=options.profile,
        annotated=_annotated(options.annotated, labels),
        surface_distances=options.hd95,
        jobs=options.jobs,
        max_bytes=options.max_memory * 2**20,
        on_start=progress.start,
    )
    if options.output is None:
        write_scores(watched(scores), sys.stdout, labels=labels, layout=layout)
    else:
        with _Replacing(options.output) as file:
            write_scores(watched(scores), file, labels=labels, layout=layout)
    progress.finish()
    if not options.quiet:
        print(summary.text(), file=sys.stderr)
    return EXIT_UNUSABLE_PREDICTION if summary.unusable else EXIT_FINE


class _Summary:
    """Counts and means for the closing line."""

    def __init__(self) -> None:
        self.cases = self.missing = self.unusable = 0
        self._dsc: list[float] = []
        self._nsd: list[float] = []

    def add(self, scored: bool, dsc: float, nsd: float, notes: Sequence[str]) -> None:
        from evaluator.case import MISSING_PREDICTION

        self.cases += 1
        if not scored:
            is_missing = MISSING_PREDICTION in notes
            self.missing += is_missing
            self.unusable += not is_missing
        self._dsc += [dsc] if dsc == dsc else []
        self._nsd += [nsd] if nsd == nsd else []

    def text(self) -> str:
        parts = [f"{self.cases} case{'' if self.cases == 1 else 's'}"]
        parts += [f"{self.missing} without a prediction"] if self.missing else []
        parts += [f"{self.unusable} with an unusable one"] if self.unusable else []
        for name, values in (("DSC", self._dsc), ("NSD", self._nsd)):
            parts += [f"mean {name} {sum(values) / len(values):.4f}"] if values else []
        return ", ".join(parts)


class _Replacing:
    """Open a file to write that takes the old one's place only when all went well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> TextIO:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise RequestError(f"cannot write the output: {error.strerror}", where=self._path) from error
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)


def _annotated(path: Path | None, labels: LabelTable) -> dict[str, Collection[int]] | None:
    """Return the annotated labels of each case from a JSON file: {"case": [1, 2, 3], ...}."""
    if path is None:
        return None
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        return {str(case): frozenset(int(value) for value in values) for case, values in stated.items()}
    except OSError as error:
        raise MissingFileError(
            f"cannot read the list of annotated labels: {error.strerror}", where=path
        ) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise RequestError(
            "the list of annotated labels is not as expected",
            where=path,
            mend='Write {"case": [1, 2, 3]} with the labels that each partially annotated case holds',
        ) from error


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise RequestError(f"{text!r} is no list of labels", mend="Write --labels 1,2,3") from None


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
    add("--challenge", required=True, choices=list(LABEL_TABLES), help="labels and tolerances to score")
    add(
        "--profile",
        default="exact",
        choices=["exact", "flare"],
        help="exact: all of every volume, checked geometry (default); flare: the official scripts' rules",
    )
    add("--output", type=Path, metavar="FILE", help="where to write; standard output by default")
    add("--format", choices=["csv", "flare", "json"], help="csv: a row per case and label (default)")
    add("--labels", metavar="1,2,3", help="score only these labels")
    add("--annotated", type=Path, metavar="FILE", help='JSON {"case": [labels]} of partially annotated cases')
    add("--hd95", action="store_true", help="also HD95 and average surface distance")
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
    sys.exit(main())
