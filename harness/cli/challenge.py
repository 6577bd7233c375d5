"""`harness challenge`: the file of a challenge of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.display import progress, say
from harness.errors import EXIT_OK, ConfigurationError


def register(app: typer.Typer) -> None:
    """Add the command group to the application."""
    group = typer.Typer(
        help="Write the file of a challenge of your own.\n\n"
        "Example: `harness challenge new mine.toml --data DIR`.",
        no_args_is_help=True,
    )
    group.callback()(lambda: None)  # keeps it a group while it has one command
    group.command("new")(new)
    app.add_typer(group, name="challenge")


def new(
    file: Annotated[Path, typer.Argument(help="The .toml file to write; one that is there stays as it is.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="A data set: its labels, by dataset.json or else by the label maps.",
        ),
    ] = None,
    split: options.Split = None,
) -> int:
    """Write a whole challenge to start from, with comments.

    Example: `harness challenge new mine.toml --data DIR`.
    """
    from evaluator.label_files import DEFAULT_TOLERANCE_MM
    from evaluator.labels import Label
    from harness.challenge import draft, parse_challenge
    from harness.data.dataset import open_dataset
    from harness.data.labels import known_labels

    _check_free(file)
    if data is None:
        examples = [Label(value, f"label_{value}", DEFAULT_TOLERANCE_MM) for value in (1, 2)]
        text, where = draft(file.stem, examples, rename=True), file
        to_do = "labels 1 and 2 are examples: write yours"
    else:
        dataset = open_dataset(data, split=split, need_labels=False)
        with progress("reading labels") as advance:
            known = known_labels(dataset, advance)
        text = draft(
            file.stem,
            known.labels,
            title=dataset.name if known.named else "",
            channels=dataset.channels or [f"channel {n}" for n, _ in enumerate(dataset.cases[0].channels)],
            rename=not known.named,
        )
        where = known.source
        to_do = f"{len(known.labels)} label(s) of {where}: " + (
            "set their tolerances" if known.named else "name them, and set their tolerances"
        )
    parse_challenge(text.encode(), where=str(where))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("x", encoding="utf-8") as written:
        written.write(text)
    print(file)
    say(to_do)
    say(f"next: harness data check {data or 'DATA'} --challenge {file}")
    return EXIT_OK


def _check_free(file: Path) -> None:
    if file.suffix.lower() != ".toml":
        raise ConfigurationError(
            "a challenge's file ends in .toml", where=file, mend=f"Say {file.stem}.toml."
        )
    if file.exists():
        raise ConfigurationError(
            "the file is there already",
            where=file,
            mend="Name another, or remove it: nothing is overwritten.",
        )
