"""Read a Dockerfile as the builder will: which images it builds on, and what it fetches from a network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

_DIRECTIVE = re.compile(r"^#\s*(?P<name>\w+)\s*=\s*(?P<value>\S+)\s*$", re.ASCII)
_ARG = re.compile(r"^ARG\s+(?P<pairs>.+)$", re.IGNORECASE)
_FROM = re.compile(r"^FROM\s+(?:--\S+\s+)*(?P<image>\S+)(?:\s+AS\s+(?P<stage>\S+))?\s*$", re.IGNORECASE)
_COPY_FROM = re.compile(r"^(?:COPY|ADD)\s+(?:--\S+\s+)*?--from=(?P<image>\S+)", re.IGNORECASE)
_MOUNT_FROM = re.compile(r"--mount=\S*?\bfrom=(?P<image>[^\s,]+)", re.IGNORECASE)
_ADD = re.compile(r"^ADD\s+(?:--\S+\s+)*(?P<words>.+)$", re.IGNORECASE)
_ON_BUILD = re.compile(r"^(?:ONBUILD\s+)+", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<braced>\w+)(?::(?P<how>[-+])(?P<other>[^}]*))?\})")
_FETCHED = ("://", "git@", "$")
_UNREADABLE = re.compile(r"[$\"'\\`{}\s]")

ESCAPES = ("\\", "`")
"""What may continue a line: the second where the directive `# escape=` says so."""


def parents(text: str, build_args: Mapping[str, str], *, escape: str | None = None) -> tuple[str, ...]:
    """Return the images that a Dockerfile takes from outside, in order, each once.

    Stages of its own and `scratch` are left out. A name that still holds an unknown variable is
    returned as it is; see `is_readable`.

    Args:
        text: The Dockerfile.
        build_args: What `docker build --build-arg` is given; only arguments declared before the
            first FROM can name an image.
        escape: What continues a line; by default what the file says.
    """
    arguments: dict[str, str] = {}
    stages: set[str] = set()
    found: dict[str, None] = {}
    for line in instructions(text, escape=escape):
        if (match := _ARG.match(line)) and not stages and not found:
            for pair in match["pairs"].split():
                name, _, default = pair.partition("=")
                arguments[name] = build_args.get(name, _expand(default.strip("\"'"), arguments))
        elif match := _FROM.match(line):
            image = _expand(match["image"], arguments)
            if image.lower() not in stages and image != "scratch":
                found[image] = None
            stages.add((match["stage"] or f"#{len(stages)}").lower())
        else:
            for image in _taken_from(line):
                if image.lower() not in stages and not image.isdecimal():
                    found[image] = None
    return tuple(found)


def is_readable(name: str) -> bool:
    """Whether an image's name is understood: no variable, quote or escape is left in it."""
    return not _UNREADABLE.search(name)


def fetched(lines: Iterable[str]) -> tuple[str, ...]:
    """Return what ADD lines may fetch from a network: addresses, and what only the builder can expand.

    Args:
        lines: Instructions, also those of a parent's ONBUILD.
    """
    found = []
    for line in lines:
        match = _ADD.match(_ON_BUILD.sub("", line))
        for source in _sources(match["words"]) if match else ():
            plain = re.sub(r"[\"'\\`]", "", source)
            if any(sign in plain for sign in _FETCHED):
                found.append(plain)
    return tuple(found)


def instructions(text: str, *, escape: str | None = None) -> tuple[str, ...]:
    """Return a Dockerfile's instructions, each on one line.

    Args:
        text: The Dockerfile. Only a line feed ends a line, as for the builder.
        escape: What continues a line; by default what the file's first lines say.
    """
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    continued = re.compile(re.escape(escape or _declared_escape(lines)) + r"[ \t]*$")
    found: list[str] = []
    begun = ""
    for line in lines:
        # Comments and empty lines do not end an instruction that goes on.
        if line.lstrip().startswith("#") or not line.strip():
            continue
        whole = begun + line
        begun = ""
        if continued.search(whole):
            begun = continued.sub("", whole)
        else:
            found.append(whole.strip())
    return tuple(found if not begun.strip() else [*found, begun.strip()])


def _declared_escape(lines: Iterable[str]) -> str:
    for line in lines:
        match = _DIRECTIVE.match(line.strip())
        if match is None:
            break
        if match["name"].lower() == "escape" and match["value"] in ESCAPES:
            return match["value"]
    return ESCAPES[0]


def _taken_from(line: str) -> Iterator[str]:
    plain = _ON_BUILD.sub("", line)
    if match := _COPY_FROM.match(plain):
        yield match["image"]
    if plain[:3].upper() == "RUN":
        yield from (match["image"] for match in _MOUNT_FROM.finditer(plain))


def _sources(words: str) -> list[str]:
    """Return an ADD line's sources: every word but the last, or those of a JSON list."""
    if words.lstrip().startswith("["):
        try:
            listed = json.loads(words)
            return [str(word) for word in listed[:-1]] if isinstance(listed, list) else []
        except ValueError:
            pass
    return words.split()[:-1]


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
