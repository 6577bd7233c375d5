"""A challenge's scoring rules as one JSON file, for a machine that has the evaluator and nothing else.

The harness writes the file from a challenge's TOML (`harness platform`), programs of this package read it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from evaluator.json_files import read_json
from evaluator.labels import Label, LabelTable
from evaluator.metrics import METRICS
from evaluator.scoring import Scoring

VERSION = 1
BothEmpty = Literal["not counted", "1", "nan"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number that a platform's leaderboard may show: a mean over the cases.

    Attributes:
        key: Its name in the platform's JSON.
        title: Its heading.
        metric: Key of a metric, or `runtime_s`.
        group: The group of labels whose mean per case is averaged; empty for a number per case.
        direction: Which values are better.
        failed: What a failed case counts; may be infinite.
        percent: Whether tables show it in percent.
        ranked: Whether the challenge ranks it.
    """

    key: str
    title: str
    metric: str
    group: str = ""
    direction: Literal["higher", "lower"] = "higher"
    failed: float = 0.0
    percent: bool = False
    ranked: bool = False


@dataclass(frozen=True, kw_only=True)
class PlatformRules:
    """What is scored, and which means are reported.

    Attributes:
        name: The challenge's.
        labels: The labels and regions.
        profile: The scoring profile.
        metrics: Keys of what is computed.
        groups: Values of the labels of each group.
        columns: The ranked ones first.
        both_empty: What a label counts in a case whose reference lacks it, as in the challenge's ranking.
        annotated: The label values of partially annotated cases.
        output_slug: Which output of a grand-challenge algorithm is scored; empty for its only image.
    """

    name: str
    title: str
    labels: LabelTable
    profile: str
    metrics: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]]
    columns: tuple[Column, ...]
    both_empty: BothEmpty = "not counted"
    annotated: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    output_slug: str = ""

    @property
    def scoring(self) -> Scoring:
        """How a case is scored."""
        return Scoring(self.labels, profile=self.profile, metrics=self.metrics)


def rules_to_json(rules: PlatformRules) -> str:
    """Return rules as the text that `rules_from_json` reads."""
    values = asdict(rules)
    values["labels"] = [asdict(label) for label in rules.labels]
    values["table"] = rules.labels.name
    for column in values["columns"]:
        column["failed"] = column["failed"] if math.isfinite(column["failed"]) else str(column["failed"])
    return json.dumps({"version": VERSION, **values}, indent=1, allow_nan=False) + "\n"


def rules_from_json(path: Path) -> PlatformRules:
    """Return the rules that a file states.

    Raises:
        MissingFileError: The file cannot be read.
        RequestError: It is none that `rules_to_json` wrote.
    """
    return read_json(path, _rules, what="the scoring rules", mend="Make them anew with `harness platform`")


def _rules(values: dict[str, Any]) -> PlatformRules:
    if values.pop("version") != VERSION:
        raise ValueError("another version wrote them")
    labels = [Label(**{**label, "parts": tuple(label["parts"])}) for label in values.pop("labels")]
    if unknown := [key for key in values["metrics"] if key not in METRICS]:
        raise ValueError(f"there is no metric {unknown[0]!r}")
    return PlatformRules(
        labels=LabelTable(values.pop("table"), tuple(labels)),
        columns=tuple(
            Column(**{**column, "failed": float(column["failed"])}) for column in values.pop("columns")
        ),
        metrics=tuple(values.pop("metrics")),
        groups=_tuples(values.pop("groups")),
        annotated=_tuples(values.pop("annotated")),
        **values,
    )


def _tuples(values: dict[str, list[int]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(members) for name, members in values.items()}
