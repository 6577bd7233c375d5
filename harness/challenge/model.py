"""What a challenge is: labels, limits, container contract and ranking, as data."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evaluator import LABEL_TABLES, LabelTable

MIB = 1024**2
GIB = 1024**3

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Record):
    """What one case's container may use. Sizes are bytes, times are seconds of wall clock."""

    memory_bytes: PositiveInt = Field(
        description="resident memory, page cache and tmpfs together; swap is off"
    )
    time_s: PositiveFloat = Field(description="wall clock of one case, from start to exit")
    cpus: PositiveFloat | None = Field(None, description="CPU quota; none gives the whole host")
    gpu: bool = Field(False, description="whether a container may use one GPU; a CPU submission runs without")
    gpu_memory_bytes: PositiveInt | None = Field(
        None, description="device memory; exceeding it kills the case"
    )
    shm_bytes: PositiveInt = Field(64 * MIB, description="size of /dev/shm, counted within memory_bytes")
    tmp_bytes: PositiveInt = Field(2 * GIB, description="size of the tmpfs /tmp, counted within memory_bytes")
    output_bytes: PositiveInt = Field(
        2 * GIB, description="everything under the output folder, watched while running"
    )
    log_bytes: PositiveInt = Field(16 * MIB, description="kept log; a longer one loses its middle")


class Contract(_Record):
    """Where a container finds its input and puts its output, and how it is started."""

    inputs: str = "/workspace/inputs"
    outputs: str = "/workspace/outputs"
    command: tuple[str, ...] | None = Field(
        ("/bin/bash", "-c", "sh predict.sh"), description="argv; none runs the image's own entrypoint"
    )
    input_suffix: str = "_0000.nii.gz"
    output_suffix: str = ".nii.gz"


class Direction(StrEnum):
    """Whether more is better."""

    HIGHER = "higher"
    LOWER = "lower"


class MetricName(StrEnum):
    """What a ranking may be made of. Scores are fractions in [0, 1]; the others name their unit."""

    DSC = "dsc"
    NSD = "nsd"
    RUNTIME_S = "runtime_s"
    PEAK_MEMORY_BYTES = "peak_memory_bytes"
    PEAK_GPU_MEMORY_BYTES = "peak_gpu_memory_bytes"
    GPU_MEMORY_AUC_BYTE_S = "gpu_memory_auc_byte_s"
    CPU_UTILISATION_AUC_PERCENT_S = "cpu_utilisation_auc_percent_s"


class Metric(_Record):
    """One column of a ranking.

    `labels` names a group of the challenge's labels whose mean per case is ranked (`None` for
    metrics that are not about labels). A value on the good side of `tolerance` counts as the
    tolerance. `failed` is the value of a case that did not succeed.
    """

    metric: MetricName
    labels: str | None = None
    direction: Direction
    weight: PositiveFloat = 1.0
    tolerance: float | None = None
    failed: float

    @property
    def key(self) -> str:
        """The column's name, such as `dsc:organs` or `runtime_s`."""
        return f"{self.metric.value}:{self.labels}" if self.labels else self.metric.value

    @model_validator(mode="after")
    def _labels_where_needed(self) -> Metric:
        about_labels = self.metric in (MetricName.DSC, MetricName.NSD)
        if about_labels != (self.labels is not None):
            raise ValueError(
                f"metric {self.metric.value}: `labels` goes with dsc and nsd, and only with them"
            )
        return self


class RankingScheme(_Record):
    """How per-case values become one order of teams."""

    order: Literal["rank-then-average", "average-then-rank", "test-then-rank"] = "rank-then-average"
    metrics: tuple[Metric, ...] = Field(min_length=1)
    divide_by_teams: bool = Field(
        False, description="FLARE21: the averaged rank is divided by the number of teams"
    )


class Challenge(_Record):
    """A challenge's rules. Its label table (names, tolerances) is the evaluator's of the same name."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    source: str = Field("", description="where the rules come from, and which of them are unverified")
    label_table: str
    label_groups: dict[str, tuple[int, ...]] = Field(description="named groups of label values")
    profile: Literal["exact", "flare"] = Field(
        "exact", description="the scoring rules used unless the command line names others"
    )
    gpu_memory_free_bytes: int = Field(
        0, ge=0, description="device memory that the GPU memory AUC does not count: max(0, used - free)"
    )
    limits: Limits
    contract: Contract = Contract()
    ranking: RankingScheme

    @property
    def labels(self) -> LabelTable:
        """The evaluator's label table: values, organ names, NSD tolerances in mm."""
        return LABEL_TABLES[self.label_table]

    @model_validator(mode="after")
    def _names_exist(self) -> Challenge:
        if self.label_table not in LABEL_TABLES:
            raise ValueError(f"label_table {self.label_table!r} is not one of {sorted(LABEL_TABLES)}")
        values = {label.value for label in self.labels}
        for group, members in self.label_groups.items():
            if unknown := set(members) - values:
                raise ValueError(
                    f"label group {group!r} holds {sorted(unknown)}, not in table {self.label_table!r}"
                )
        for metric in self.ranking.metrics:
            if metric.labels is not None and metric.labels not in self.label_groups:
                raise ValueError(f"metric {metric.key}: no label group {metric.labels!r}")
        if self.limits.shm_bytes > self.limits.memory_bytes:
            raise ValueError("limits: shm_bytes exceeds memory_bytes")
        return self
