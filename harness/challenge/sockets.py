"""What goes into and comes out of an algorithm of grand-challenge.org: sockets, each a folder of one image.

The platform's convention: an input image lies at `/input/images/FOLDER/NAME.mha`, `/input/inputs.json` lists
the inputs, and the algorithm writes one image to `/output/images/FOLDER/`
(https://grand-challenge.org/documentation/algorithms/). A socket's slug and its folder may differ.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from harness.challenge.limits import Record

SUFFIX = ".mha"
INPUTS = "/input"
OUTPUTS = "/output"

_NAME = r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$"


class Socket(Record):
    """An input or output: its slug, and the folder of its image below `images/`."""

    slug: Annotated[str, Field(pattern=_NAME)]
    folder: Annotated[str, Field(pattern=_NAME)]

    @property
    def relative_path(self) -> str:
        """Where its image lies below the input or output folder."""
        return f"images/{self.folder}"


def _from_text(value: Any) -> Any:
    if isinstance(value, str):
        slug, _, folder = value.partition("=")
        return {"slug": slug, "folder": folder or slug}
    return value


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str | dict) else value


Written = Annotated[Socket, BeforeValidator(_from_text)]
"""A socket, in a TOML or on the command line `SLUG` or `SLUG=FOLDER`."""


class Sockets(Record):
    """An algorithm's inputs, one per image channel, and the output that holds its label volume."""

    input: Annotated[tuple[Written, ...], Field(min_length=1), BeforeValidator(_several)]
    output: Written
