"""The command line: `python -m evaluator explain REFERENCE PREDICTION`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluator.errors import EvaluatorError, RequestError
from evaluator.shipped import LABEL_TABLES, label_table


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0, or 2 where nothing can be explained."""
    options = _parser().parse_args(arguments)
    try:
        write_explanation(options)
    except EvaluatorError as error:
        print(f"error: {error.one_line()}", file=sys.stderr)
        return 2
    return 0


def write_explanation(options: argparse.Namespace) -> None:
    """Print the explanation, and write the page if one is asked for.

    Raises:
        EvaluatorError: A file cannot be read or written, the grids differ, or the request makes no sense.
    """
    from evaluator.explain import explain
    from evaluator.explain_pages import as_html, as_text
    from evaluator.folder import match_folders
    from evaluator.label_files import label_table_from_file

    labels = None
    if options.challenge is not None:
        labels = label_table(options.challenge)
    elif options.labels is not None:
        labels = label_table_from_file(options.labels)
    profiles = options.profiles.split(",") if options.profiles else ()
    reference = options.reference
    if reference.is_dir():
        (case,) = match_folders(reference, options.prediction).cases
        reference = case.raters
    found = explain(reference, options.prediction, labels, profiles)
    sys.stdout.write(as_text(found))
    if options.html is not None:
        try:
            options.html.write_text(as_html(found), encoding="utf-8")
        except OSError as error:
            raise RequestError(f"cannot write the page: {error.strerror}", where=options.html) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluator explain",
        description="Score a pair under several rules; say why they differ and where surfaces are far apart",
    )
    add = parser.add_argument
    add("reference", metavar="REFERENCE", type=Path, help="a label file, or a folder of one for each rater")
    add("prediction", metavar="PREDICTION", type=Path, help="a label file")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--labels", type=Path, metavar="FILE", help="labels and tolerances")
    which.add_argument("--challenge", choices=list(LABEL_TABLES), help="those of a shipped challenge")
    add(
        "--profiles",
        metavar="NAMES",
        help="rules to compare with the exact ones; by default those that apply",
    )
    add("--html", type=Path, metavar="FILE", help="also write a page with pictures")
    return parser
