"""Find a challenge: one that ships with the harness, or an organiser's own TOML file."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from evaluator.errors import EvaluatorError, choose_one_of
from evaluator.label_files import label_table_from_file
from evaluator.metrics import METRICS
from harness.challenge.mistakes import explained
from harness.challenge.model import Challenge
from harness.errors import ConfigurationError

_SHIPPED = resources.files("harness.challenge") / "shipped"


def shipped_names() -> list[str]:
    """Return the names of the challenges that ship with the harness, sorted."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".toml")
    )


def load_challenge(name: str) -> Challenge:
    """Load a challenge by its shipped name, or from a path to a TOML file.

    Raises:
        ConfigurationError: there is no such challenge, or its file breaks the schema.
    """
    if name in shipped_names():
        return parse_challenge((_SHIPPED / f"{name}.toml").read_bytes(), where=name)
    path = Path(name)
    if path.suffix.lower() == ".toml":
        try:
            return parse_challenge(path.read_bytes(), where=str(path))
        except OSError as error:
            raise ConfigurationError(
                "the challenge file cannot be read", where=path, mend=f"Check the path: {error.strerror}."
            ) from error
    raise ConfigurationError(
        f"there is no challenge named {name!r}",
        mend=f"{choose_one_of(name, shipped_names())}, or give the path of your own .toml file.",
    )


def parse_challenge(content: bytes, *, where: str) -> Challenge:
    """Return the challenge that a file's content describes; `where` is the file, beside which others may lie.

    Raises:
        ConfigurationError: it is no TOML, or breaks the schema.
    """
    try:
        # Editors on Windows begin a file with a byte order mark, which TOML does not allow.
        values = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            "the challenge file is not TOML: it is not in UTF-8", where=where, mend="Save it as UTF-8."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError("the challenge file is not TOML", where=where, mend=str(error)) from error
    if isinstance(values.get("labels"), str):
        values["labels"] = _labels_of(Path(where).parent / values["labels"], where=where)
    try:
        challenge = Challenge.model_validate(values)
    except ValidationError as error:
        raise explained(error, values, where=where) from error
    _check_ranks(challenge, where)
    return challenge


def _check_ranks(challenge: Challenge, where: str) -> None:
    """Refuse a ranking on what has no better and no worse; what is stored under one is read all the same."""
    for number, metric in enumerate(challenge.ranking.metrics, start=1):
        if metric.facts.ranks:
            continue
        absolute = f"absolute_{metric.metric}"
        raise ConfigurationError(
            f"ranking.metrics[{number}]: {metric.metric} is a signed error, of which neither more nor less "
            "is better, so it ranks nobody",
            where=where,
            mend=f"Rank {absolute}, or show it only: `[scoring] metrics`."
            if absolute in METRICS
            else "Show it only: `[scoring] metrics`.",
        )


def _labels_of(path: Path, *, where: str) -> list[dict[str, object]]:
    """Return the `[[labels]]` that a file beside the challenge states, such as nnU-Net's dataset.json."""
    try:
        table = label_table_from_file(path)
    except EvaluatorError as error:
        raise ConfigurationError(
            f"labels: {error.what}", where=error.where or where, mend=error.mend
        ) from error
    return [
        {
            "name": label.name,
            "tolerance_mm": label.tolerance_mm,
            "group": label.group,
            "colour": label.colour,
            "column": label.column,
            **(
                {"value": label.value, "values": list(label.parts)} if label.parts else {"value": label.value}
            ),
        }
        for label in table
    ]
