"""What a challenge is: labels, limits, container contract, scoring and ranking, as data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from evaluator.errors import EvaluatorError, choose_one_of
from evaluator.label_files import with_numbers
from evaluator.labels import Label, LabelTable
from evaluator.metrics import MetricFacts, in_table_order
from evaluator.shipped import LABEL_TABLES, PROFILES
from harness.challenge.limits import Limits, Record
from harness.challenge.metrics import MEASURED, facts_of, is_measured
from harness.challenge.ranking import Metric, RankingScheme
from harness.challenge.sockets import INPUTS, OUTPUTS, SUFFIX, Sockets
from harness.challenge.words import from_words
from harness.text import printable


def _one_line(words: str) -> str:
    if printable(words) != words or words != words.strip():
        raise ValueError("it must be words without control characters or spaces around them")
    return words


def _known_profile(name: str) -> str:
    if name not in PROFILES:
        raise ValueError(f"there is no profile {name!r}. {choose_one_of(name, PROFILES)}")
    return name


Words = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]

LARGEST_VALUE = 255
"""The largest voxel value that is a label."""

ALL_LABELS = "all"
"""The group of every label, where a challenge names no groups."""


class Contract(Record):
    """Where a container finds its input and puts its output, and how it is started."""

    inputs: str = "/workspace/inputs"
    outputs: str = "/workspace/outputs"
    command: tuple[str, ...] | None = Field(
        ("/bin/bash", "-c", "sh predict.sh"), description="argv; none runs the image's own entrypoint"
    )
    input_suffix: str = "_0000.nii.gz"
    output_suffix: str = ".nii.gz"
    channels: tuple[str, ...] = Field(
        (), description="names of the image channels of a case; none given means one image a case"
    )
    runtime: str = Field("", description="OCI runtime, such as runsc or kata; none takes the host's choice")
    grand_challenge: Sockets | None = Field(
        None, description="containers are algorithms of grand-challenge.org: sockets instead of named files"
    )

    @model_validator(mode="before")
    @classmethod
    def _as_the_platform_has_it(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("grand_challenge") is None:
            return values
        platform = {"inputs": INPUTS, "outputs": OUTPUTS, "command": None}
        return platform | {"input_suffix": SUFFIX, "output_suffix": SUFFIX} | values

    @property
    def identity(self) -> dict[str, Any]:
        """The contract as part of a run's name; a new field changes no name of a run that does not use it."""
        values = self.model_dump(mode="json")
        if self.grand_challenge is None:
            del values["grand_challenge"]
        return values

    def given_name(self, opaque: str, channel: int) -> str:
        """Return where a channel's image lies below the inputs."""
        if self.grand_challenge is None:
            return f"{opaque}{self.channel_suffix(channel)}"
        return f"{self.grand_challenge.input[channel].relative_path}/{opaque}{SUFFIX}"

    def expected_name(self, opaque: str) -> str:
        """Return where the label volume must lie below the outputs; `*` stands for any name."""
        if self.grand_challenge is None:
            return f"{opaque}{self.output_suffix}"
        return f"{self.grand_challenge.output.relative_path}/*{SUFFIX}"

    def channel_suffix(self, number: int) -> str:
        """Return what stands behind a case's name in the file of its first (0) or a later channel."""
        if "_0000" in self.input_suffix:
            return self.input_suffix.replace("_0000", f"_{number:04d}")
        return self.input_suffix if number == 0 else f"_{number:04d}{self.input_suffix}"


_MOST_VALUE, _MOST_NUMBER = 255, 65_535
"""Of a voxel, and of a region."""


class ChallengeLabel(Record):
    """One label of a challenge's own table, a `[[labels]]` of its file; a region has `values`."""

    values: tuple[Annotated[int, Field(ge=1, le=_MOST_VALUE, strict=True)], ...] = Field(
        (), description="the voxel values of a region, which is scored as one"
    )
    value: Annotated[int, Field(ge=1, le=_MOST_NUMBER, strict=True)] = Field(
        description="the voxel value, 1 to 255; of a region, a number that no other label has"
    )
    name: Words
    tolerance_mm: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        description="how far two surfaces may lie apart and still count as the same (NSD)"
    )
    group: Annotated[str, AfterValidator(_one_line)] = Field(
        "", description="the group of labels whose mean is ranked"
    )
    colour: Annotated[str, Field(pattern=r"^(#[0-9A-Fa-f]{6})?$")] = Field("", description="#rrggbb")
    column: str = Field("", description="its stem in tables whose columns have names of their own")

    @field_validator("value")
    @classmethod
    def _numbers_of_regions_go_further(cls, value: int, info: ValidationInfo) -> int:
        if value > _MOST_VALUE and not info.data.get("values"):
            raise PydanticKnownError("less_than_equal", {"le": _MOST_VALUE})
        return value

    def as_label(self) -> Label:
        """Return it as the evaluator takes it."""
        facts = self.model_dump()
        parts = facts.pop("values")
        return Label(**facts, parts=parts)


def _metric_keys(values: Any) -> Any:
    if isinstance(values, list | tuple) and all(isinstance(value, str) for value in values):
        keys = tuple(dict.fromkeys(facts_of(value).key for value in values))
        if measured := [key for key in keys if is_measured(key)]:
            raise ValueError(f"{measured[0]} is measured in every run, not computed from predictions")
        return keys
    return values


class Scoring(Record):
    """What is computed beside the metrics that are ranked."""

    metrics: Annotated[tuple[str, ...], BeforeValidator(_metric_keys)] = ("dsc", "nsd")


class Challenge(Record):
    """A challenge's rules. Its labels are its own, or a table that the evaluator knows by name."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    source: str = Field("", description="where the rules come from, and which of them are unverified")
    own_labels: tuple[ChallengeLabel, ...] = Field((), alias="labels")
    label_table: str | None = Field(None, description="instead of labels: the name of a known table")
    label_groups: dict[str, tuple[int, ...]] = Field(
        {}, description="named groups of label values, where the labels' own `group` does not say it"
    )
    profile: Annotated[str, AfterValidator(_known_profile)] = Field(
        "exact", description="the scoring rules used unless the command line names others"
    )
    gpu_memory_free_bytes: int = Field(
        0, ge=0, description="device memory that the GPU memory AUC does not count: max(0, used - free)"
    )
    limits: Limits
    contract: Contract = Contract()
    scoring: Scoring = Scoring()
    ranking: RankingScheme

    @cached_property
    def labels(self) -> LabelTable:
        """The label table: values, names, NSD tolerances in mm."""
        if self.label_table is not None:
            return known_table(self.label_table)
        return LabelTable(self.name, tuple(label.as_label() for label in self.own_labels))

    @cached_property
    def computed_metrics(self) -> tuple[str, ...]:
        """Keys of what is computed from predictions, in the order of the evaluator's table."""
        ranked = {metric.metric for metric in self.ranking.metrics}
        return in_table_order({*ranked, *self.scoring.metrics})

    @cached_property
    def label_metrics(self) -> tuple[MetricFacts, ...]:
        """The facts of the computed metrics that are a number per label."""
        return tuple(facts for key in self.computed_metrics if (facts := facts_of(key)).scope == "label")

    @cached_property
    def case_metrics(self) -> tuple[MetricFacts, ...]:
        """The facts of the computed metrics that are a number per case."""
        return tuple(facts for key in self.computed_metrics if (facts := facts_of(key)).scope == "case")

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, values: Any) -> Any:
        """Put in what the file leaves to the rest of it: groups from labels, failed values from limits."""
        values = from_words(values, cls.model_fields)
        if not isinstance(values, dict):
            return values
        return _with_failed_values(_with_groups(_with_numbers(values)))

    @model_validator(mode="after")
    def _names_exist(self) -> Challenge:
        if bool(self.own_labels) == (self.label_table is not None):
            raise ValueError(
                "both [[labels]] and label_table are given; keep one of them"
                if self.own_labels
                else "there are no labels; write one [[labels]] with value, name and tolerance_mm for each"
            )
        try:
            table = self.labels
        except EvaluatorError as error:
            raise ValueError(error.one_line()) from error
        _check_names(table, self.label_groups)
        if not self.computed_metrics:
            raise ValueError("scoring.metrics: nothing is computed or ranked of a prediction; name a metric")
        for group, members in self.label_groups.items():
            if unknown := set(members) - set(table.values):
                raise ValueError(
                    f"label_groups: {group!r} holds {sorted(unknown)}; the labels are {list(table.values)}"
                )
        for metric in self.ranking.metrics:
            if metric.labels is not None and metric.labels not in self.label_groups:
                raise ValueError(
                    f"ranking.metrics: there is no group of labels {metric.labels!r}. "
                    f"{choose_one_of(metric.labels, self.label_groups)}"
                )
        if (self.limits.shm_bytes or 0) > self.limits.memory_bytes:
            raise ValueError("limits: shm_bytes exceeds memory_bytes; /dev/shm counts as memory")
        return self


def for_algorithms(challenge: Challenge, sockets: Sockets) -> Challenge:
    """Return the challenge with containers that are algorithms of grand-challenge.org."""
    of_challenge = challenge.contract
    contract = Contract.model_validate(
        {"grand_challenge": sockets, "channels": of_challenge.channels, "runtime": of_challenge.runtime}
    )
    return challenge.model_copy(update={"contract": contract})


def known_table(name: str) -> LabelTable:
    """Return a label table that the evaluator knows by name.

    Raises:
        ValueError: there is no such table.
    """
    if name not in LABEL_TABLES:
        raise ValueError(f"there is no label_table {name!r}. {choose_one_of(name, LABEL_TABLES)}")
    return LABEL_TABLES[name]


def _with_numbers(values: dict[str, Any]) -> dict[str, Any]:
    """Number the regions that state no value of their own."""
    name = "labels" if "labels" in values else "own_labels"
    labels = values.get(name)
    if not isinstance(labels, list | tuple) or not all(isinstance(label, dict) for label in labels):
        return values
    return values | {name: with_numbers(labels)}


def _with_groups(values: dict[str, Any]) -> dict[str, Any]:
    """Collect the groups that the labels name; of labels without any, all are one group."""
    labels = values.get("labels", values.get("own_labels"))
    given = values.get("label_groups", {})
    if not isinstance(labels, list | tuple) or not all(isinstance(label, dict) for label in labels):
        return values
    if not labels or not isinstance(given, dict):
        return values
    groups: dict[str, list[Any]] = {}
    for label in labels:
        if label.get("group"):
            groups.setdefault(label["group"], []).append(label.get("value"))
    if not groups and not given:
        groups[ALL_LABELS] = [label.get("value") for label in labels]
    for name in groups.keys() & given.keys():
        if list(given[name]) != groups[name]:
            raise ValueError(
                f"label_groups: {name!r} is the group of labels {groups[name]} already; "
                "give the other one another name"
            )
    return values | {"label_groups": groups | given}


def _with_failed_values(values: dict[str, Any]) -> dict[str, Any]:
    """Charge a failed case what the limits allow, where the file names no value of a measured metric."""
    ranking = values.get("ranking")
    metrics = ranking.get("metrics") if isinstance(ranking, dict) else None
    if not isinstance(ranking, dict) or not isinstance(metrics, list | tuple):
        return values
    try:
        limits = Limits.model_validate(values.get("limits"))
    except ValueError:
        return values  # told of with the limits themselves
    filled = [_with_failed_value(metric, limits) for metric in metrics]
    return values | {"ranking": {**ranking, "metrics": filled}}


def _with_failed_value(metric: Any, limits: Limits) -> Any:
    if not isinstance(metric, Mapping) or "failed" in metric or not isinstance(metric.get("metric"), str):
        return metric
    try:
        key = facts_of(metric["metric"]).key
    except ValueError:
        return metric
    return {**metric, "failed": MEASURED[key].at_limits(limits)} if key in MEASURED else metric


def _check_names(table: LabelTable, groups: Mapping[str, tuple[int, ...]]) -> None:
    """Check that no two columns of a table would have one name."""
    columns: dict[str, Label] = {}
    for label in table:
        column = column_name(label.name)
        if column in columns:
            raise ValueError(
                f"labels {columns[column].name!r} and {label.name!r} would share the column {column}"
            )
        columns[column] = label
    for group, members in groups.items():
        namesake = columns.get(column_name(group))
        if namesake is not None and tuple(members) != (namesake.value,):
            raise ValueError(
                f"label_groups: {group!r} is also the name of a label; give the group another name"
            )


def column_name(name: str) -> str:
    """Return a label's or group's name as part of a column's."""
    return "_".join(name.split())


__all__ = ["Challenge", "ChallengeLabel", "Contract", "Limits", "Metric", "RankingScheme", "Scoring"]
