"""Decide over what lies under an expected name, for containers and for folders of predictions alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.gate.harvest import harvest
from harness.gate.keeper import Gatekeeper
from harness.results.records import Evidence, Outcome, Prediction


@dataclass(frozen=True)
class Verdict:
    """How a case ended, and what stays of it.

    Attributes:
        prediction: The harvested copy, if it may be scored.
        notes: What was noticed of an output that may pass.
    """

    outcome: Outcome
    evidence: Evidence
    prediction: Prediction | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Output:
    """The one file that counts.

    Attributes:
        folder: Written by somebody else, who is gone.
        name: The expected name in it.
        most_bytes: The largest file accepted.
        hard_links: Accept a file that has other names, as in a folder that no container wrote.
    """

    folder: Path
    name: str
    most_bytes: int
    hard_links: bool = False


def judge_output(
    output: Output, *, reference: Path, gatekeeper: Gatekeeper, run_folder: Path, keep_as: str
) -> Verdict:
    """Copy an output, have it read, and return how its case ended.

    Args:
        output: What was written.
        reference: The case's CT, or another file on its grid.
        gatekeeper: Reads the copy.
        run_folder: The run's folder.
        keep_as: Where the copy goes, relative to it; its folder exists. Nothing stays of a refused one.

    Raises:
        InfrastructureError: the copy cannot be written, or the gate does not answer.
    """
    target = run_folder / keep_as
    found = harvest(
        output.folder, output.name, target, most_bytes=output.most_bytes, hard_links=output.hard_links
    )
    if found.missing:
        return Verdict(Outcome.NO_OUTPUT, Evidence(summary=found.missing))
    if found.path is None:
        return Verdict(Outcome.INVALID_OUTPUT, Evidence(summary=found.refused))
    answer = gatekeeper.judge(found.path, reference)
    if answer.refused:
        target.unlink()
        return Verdict(Outcome.INVALID_OUTPUT, Evidence(summary=answer.refused))
    prediction = Prediction(path=keep_as, sha256=found.sha256, size_bytes=found.size_bytes)
    evidence = Evidence(summary=f"prediction of {found.size_bytes} bytes")
    return Verdict(Outcome.SUCCEEDED, evidence, prediction, answer.notes)
