"""`harness data`: make the embedded data set, or check one's own."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.display import progress, say
from harness.data.names import LABEL_SUFFIX, some
from harness.errors import EXIT_OK, EXIT_USAGE, ConfigurationError

if TYPE_CHECKING:
    from harness.data.check import CaseFacts
    from harness.data.dataset import Dataset


def register(app: typer.Typer) -> None:
    """Add the command group to the application."""
    group = typer.Typer(
        help="Make the embedded data set, or check your own.\n\nExample: `harness data check DIR -c FILE`.",
        no_args_is_help=True,
    )
    group.command("phantom")(phantom)
    group.command("check")(check)
    group.command("raters")(raters)
    app.add_typer(group, name="data")


def phantom(
    folder: Annotated[Path, typer.Argument(help="Where the data set goes; an interrupted one is completed.")],
    cases: Annotated[int, typer.Option("--cases", "-n", min=1, help="How many patients.")] = 6,
    seed: Annotated[int, typer.Option("--seed", "-s", min=0, help="The same seed, the same voxels.")] = 7,
    split: Annotated[str, typer.Option("--split", help="Val or Tr: the two never share a patient.")] = "Val",
    shape: Annotated[
        str | None,
        typer.Option("--shape", help="Voxels such as 512x512x100; by default 128x128 and 40 to 156 slices."),
    ] = None,
    view: Annotated[
        str,
        typer.Option("--view", help="abdomen, or anywhere: shoulders to thighs, slabs, cuts; to train on."),
    ] = "abdomen",
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Leave labels out: all, some organs, tumour or nothing annotated."),
    ] = False,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Processes.")] = 1,
) -> None:
    """Make abdominal CT phantoms with 13 organs and tumours.

    Example: `harness data phantom data/phantom --cases 6 --seed 7`.
    """
    from harness.data.phantom import write_dataset

    with progress("phantoms") as advance:
        write_dataset(
            folder,
            cases=cases,
            seed=seed,
            split=split,
            shape=parse_shape(shape),
            view=view,
            partial=partial,
            workers=workers,
            progress=advance,
        )
    say(f"{cases} phantom case(s) in {folder}")


def check(
    folder: Annotated[Path, typer.Argument(help="A folder with imagesVal/ and labelsVal/.")],
    split: options.Split = None,
    challenge: Annotated[
        str | None, typer.Option("--challenge", "-c", help="Compare labels and channels with a challenge's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    repair: Annotated[
        Path | None,
        typer.Option(
            "--repair", help="Write copies with one clean header each to this folder, voxels untouched."
        ),
    ] = None,
) -> int:
    """Read every file to its end, compare each label's grid with its image's, and print what is there.

    Example: `harness data check DIR --challenge FILE`.
    """
    from harness.challenge import load_challenge
    from harness.data.check import check_channels, check_dataset
    from harness.data.dataset import open_dataset
    from harness.data.repair import repair_dataset

    rules = load_challenge(challenge) if challenge is not None else None
    dataset = open_dataset(folder, split=split, need_labels=False)
    if rules is not None:
        check_channels(dataset, rules.contract.channels)
    with progress("checking the data") as advance:
        facts = check_dataset(dataset, labels=rules.labels if rules else None, progress=advance)
    with progress("fingerprint") as advance:
        fingerprint = dataset.fingerprint(advance)
    if as_json:
        print(json.dumps(_as_dict(dataset, facts, fingerprint), indent=1))
    else:
        _print_table(dataset, facts, fingerprint)
    code = _conclude(dataset, facts)
    if repair is None:
        return code
    with progress("repairing") as advance:
        repair_dataset(dataset, repair, progress=advance)
    say(f"copies with one clean header each are in {repair}; check them as well")
    return EXIT_OK


def raters(
    folder: Annotated[Path, typer.Argument(help="A data set whose cases have several raters.")],
    split: options.Split = None,
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    profile: options.Profile = None,
) -> int:
    """Print the human level and, for each label, the tolerance that the raters' disagreement gives.

    Example: `harness data raters DIR --challenge FILE`.
    """
    from evaluator import EvaluatorError, Scoring
    from evaluator.raters import disagreement, tolerances_mm
    from harness.challenge import load_challenge
    from harness.data.dataset import open_dataset

    rules = load_challenge(challenge)
    options.check_profile(profile)
    dataset = open_dataset(folder, split=split)
    scoring = Scoring(rules.labels, profile=profile or rules.profile, metrics=rules.computed_metrics)
    found = []
    with progress("comparing raters") as advance:
        for done, case in enumerate(dataset.cases, start=1):
            try:
                one = disagreement(case.id, dict(case.raters), scoring, annotated=case.annotated)
            except EvaluatorError as error:
                raise ConfigurationError(error.what, where=error.where, mend=error.mend) from error
            found += [one] if one is not None else []
            advance(done, len(dataset.cases))
    if not found:
        raise ConfigurationError(
            "no case has two raters",
            where=folder,
            mend="Their labels are labelsVal/<case>/<rater>.nii.gz, or labelsVal/<rater>/<case>.nii.gz.",
        )
    tolerances = tolerances_mm(found, rules.labels)
    levels = [case.level() for case in found]
    titles = [facts.column for facts in rules.label_metrics]
    print("\t".join(("label", "stated_mm", "from_raters_mm", *titles)))
    for label in rules.labels:
        rows = [row for score in levels for row in score if row.label == label.value]
        means = [_mean([row.scores[facts.key] for row in rows]) for facts in rules.label_metrics]
        tolerance = tolerances.get(label.value)
        shown = "-" if tolerance is None else f"{tolerance:.4g}"
        print("\t".join((label.name, f"{label.tolerance_mm:g}", shown, *means)))
    say(f"{len(found)} of {len(dataset.cases)} case(s) have two raters or more")
    return EXIT_OK


def _mean(values: list[float]) -> str:
    known = [value for value in values if not math.isnan(value)]
    return f"{sum(known) / len(known):.4g}" if known else "-"


def _print_table(dataset: Dataset, facts: list[CaseFacts], fingerprint: str) -> None:
    print("case\tvoxels\tspacing_mm\tlabels")
    for fact in facts:
        labels = "-" if fact.labels is None else ",".join(map(str, fact.labels)) or "none"
        spacing = "x".join(f"{size:.4g}" for size in fact.spacing_mm)
        print(f"{fact.case}\t{'x'.join(map(str, fact.shape))}\t{spacing}\t{labels}")
    print(f"fingerprint\t{fingerprint}")


def _as_dict(dataset: Dataset, facts: list[CaseFacts], fingerprint: str) -> dict[str, object]:
    cases = [asdict(fact) for fact in facts]
    for case in cases:
        for finding in case["findings"]:
            finding["where"] = str(finding["where"])
    return {"name": dataset.name, "fingerprint": fingerprint, "notes": list(dataset.notes), "cases": cases}


def _conclude(dataset: Dataset, facts: list[CaseFacts]) -> int:
    """Say every finding in a line of its own, and return the exit code."""
    for note in dataset.notes:
        say(f"note: {note}")
    channels = len(dataset.cases[0].channels)
    if channels > 1:
        named = f": {', '.join(dataset.channels)}" if dataset.channels else ""
        say(f"note: {channels} channels a case, _0000 to _{channels - 1:04d}{named}")
    bare = [case.id for case in dataset.cases if case.label is None]
    if bare:
        say(f"note: {len(bare)} of {len(dataset.cases)} case(s) have no label: {some(bare)}")
    findings = [finding for fact in facts for finding in fact.findings]
    for finding in findings:
        mend = f". {finding.mend}" if finding.mend else ""
        say(f"{'error' if finding.fatal else 'note'}: {finding.what} ({finding.where}){mend}")
    faulty = {finding.case for finding in findings if finding.fatal}
    if faulty:
        say(f"{len(dataset.cases)} case(s) in {dataset.folder}, {len(faulty)} of them cannot be used")
        return EXIT_USAGE
    if len(bare) == len(dataset.cases):
        # Legitimate, as participants have such a set: it is read, and its images may be predicted.
        first = dataset.cases[0]
        assert first.image is not None
        label = f"{first.image.parent.name.replace('images', 'labels', 1)}/{first.id}{LABEL_SUFFIX}"
        say(
            f"{len(bare)} case(s) in {dataset.folder} can be read, but nothing can be scored: "
            f"no case has a label. Add {label} and so on; predictions can be made without."
        )
        return EXIT_OK
    say(f"{len(dataset.cases)} case(s) in {dataset.folder}, all readable")
    return EXIT_OK


def parse_shape(text: str | None) -> tuple[int, int, int] | None:
    """Return `128x128x64` as three voxel counts along x, y and z.

    Raises:
        ConfigurationError: the text is not three positive numbers.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise ConfigurationError(f"{text!r} is not a shape", where="--shape", mend="Write e.g. 128x128x64.")
    x, y, z = (int(part) for part in match.groups())
    return x, y, z
