"""Where the annotations of several raters are: a folder a case, or a folder a rater.

labels/case_1/anna.nii.gz       by case: a folder a case, a file a rater
labels/case_1/ben.nii.gz
labels/anna/case_1.nii.gz       by rater: a folder a rater, a file a case
labels/ben/case_1.nii.gz
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

from evaluator.errors import RequestError

CONSENSUS = "consensus"
"""How scores against what most raters say are told from those against one of them."""

File = TypeVar("File")


def by_case(
    folders: Mapping[str, Mapping[str, File]], cases: Collection[str], *, where: Path
) -> dict[str, dict[str, File]]:
    """Return the files of each case by rater, whether a folder is of a case or of a rater.

    Args:
        folders: By name of the folder, its label files by their names without ending.
        cases: Names of cases that are known from elsewhere, as of images or predictions.
        where: The folder that holds them all, for errors.

    Raises:
        RequestError: It cannot be told which of the two it is, or a rater is called what all of them are.
    """
    files = {name for found in folders.values() for name in found}
    of_cases, of_raters = (not names.isdisjoint(cases) for names in (folders.keys(), files))
    if of_cases and of_raters:
        raise RequestError(
            "it cannot be told whether the folders of labels are of cases or of raters",
            where=where,
            mend="Name raters unlike cases: <case>/<rater>.nii.gz, or <rater>/<case>.nii.gz",
        )
    raters = folders.keys() if of_raters else files
    if CONSENSUS in raters:
        raise RequestError(
            f"a rater is called {CONSENSUS}, which is made from all raters",
            where=where,
            mend="Give the files of that rater another name, or leave them out",
        )
    if of_raters:
        return {
            case: {rater: found[case] for rater, found in folders.items() if case in found}
            for case in sorted(files)
        }
    return {name: dict(found) for name, found in folders.items()}
