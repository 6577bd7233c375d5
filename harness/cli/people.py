"""The row of a data set's own raters, which whatever scores over the set keeps current."""

from __future__ import annotations

from pathlib import Path

from harness.challenge import Challenge
from harness.cli.display import say
from harness.data.dataset import Dataset
from harness.results.folder import HUMAN
from harness.scoring.human import has_raters, score_humans


def score_people(
    challenge: Challenge, dataset: Dataset, results: Path, *, fingerprint: str, profile: str | None
) -> None:
    """Score the raters of a data set against each other, if it has several a case; see `score_humans`."""
    if not has_raters(dataset):
        return
    say(f"{HUMAN}: each rater against each of the others")
    score_humans(challenge, dataset, results, fingerprint=fingerprint, profile=profile)
