"""`harness data`: make the embedded data set, or check one's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.display import progress, say
from harness.errors import ConfigurationError


def register(app: typer.Typer) -> None:
    """Add the command group to the application."""
    group = typer.Typer(help="Make the embedded data set, or check your own.", no_args_is_help=True)
    group.command("phantom")(phantom)
    group.command("check")(check)
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
    """Make abdominal CT phantoms with 13 organs and tumours."""
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
    split: Annotated[str | None, typer.Option("--split", help="Val, Ts or Tr; default: the first.")] = None,
) -> None:
    """Read every header, compare each label's geometry with its image, and print the fingerprint."""
    from harness.data.check import check_dataset
    from harness.data.dataset import open_dataset

    dataset = open_dataset(folder, split=split, need_labels=False)
    with progress("headers") as advance:
        check_dataset(dataset, progress=advance)
    with progress("fingerprint") as advance:
        print(dataset.fingerprint(advance))
    say(f"{len(dataset.cases)} case(s) in {folder}, all readable")


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
