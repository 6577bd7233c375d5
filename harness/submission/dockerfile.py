"""Read from a Dockerfile which images it builds on, as the builder will understand it."""

from __future__ import annotations

import re
from collections.abc import Mapping

_CONTINUED = re.compile(r"\\[ \t]*\n")
_ARG = re.compile(r"^ARG\s+(?P<pairs>.+)$", re.IGNORECASE)
_FROM = re.compile(r"^FROM\s+(?:--\S+\s+)*(?P<image>\S+)(?:\s+AS\s+(?P<stage>\S+))?\s*$", re.IGNORECASE)
_COPY_FROM = re.compile(r"^(?:COPY|ADD)\s+(?:--\S+\s+)*?--from=(?P<image>\S+)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<braced>\w+)(?::(?P<how>[-+])(?P<other>[^}]*))?\})")


def parents(text: str, build_args: Mapping[str, str]) -> tuple[str, ...]:
    """Return the images that a Dockerfile takes from outside, in order, each once.

    Stages of its own and `scratch` are left out. A name that still holds an unknown variable is
    returned as it is: the builder refuses it with its own message.

    Args:
        text: The Dockerfile.
        build_args: What `docker build --build-arg` is given; only arguments declared before the
            first FROM can name an image.
    """
    arguments: dict[str, str] = {}
    stages: set[str] = set()
    found: dict[str, None] = {}
    for line in _instructions(text):
        if (match := _ARG.match(line)) and not stages and not found:
            for pair in match["pairs"].split():
                name, _, default = pair.partition("=")
                arguments[name] = build_args.get(name, _expand(default.strip("\"'"), arguments))
        elif match := _FROM.match(line):
            image = _expand(match["image"], arguments)
            if image.lower() not in stages and image != "scratch":
                found[image] = None
            stages.add((match["stage"] or f"#{len(stages)}").lower())
        elif match := _COPY_FROM.match(line):
            image = match["image"]
            if image.lower() not in stages and not image.isdecimal():
                found[image] = None
    return tuple(found)


def _instructions(text: str) -> list[str]:
    without_comments = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = _CONTINUED.sub(" ", without_comments)
    return [line.strip() for line in joined.splitlines() if line.strip()]


def _expand(text: str, arguments: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match["plain"] or match["braced"]
        known = arguments.get(name, "")
        if match["how"] == "-":
            return known or match["other"]
        if match["how"] == "+":
            return match["other"] if known else ""
        return arguments.get(name, match[0])

    return _VARIABLE.sub(value, text)
