"""The records a run leaves on disk. Their JSON Schemas are the results format.

One `RunRecord` (run.json), one `ExecutionRecord` per case and attempt (cases.jsonl) and one
`ScoreRecord` per scored case (scores.jsonl). Lines of the two journals are chained: each carries
the SHA-256 of the line before it, the first one that of run.json, and each its own, so a changed
byte is found wherever it is.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.challenge import Challenge, Limits, Number

CONTRACT_VERSION = 2
"""Part of a run's identity: raised when containers are started differently."""

CHAIN_START = "0" * 64
"""The hash before the first line of a journal that belongs to no run folder."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Outcome(StrEnum):
    """How a case ended: a closed set."""

    SUCCEEDED = "succeeded"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    GPU_MEMORY_LIMIT = "gpu_memory_limit"
    OUTPUT_LIMIT = "output_limit"
    CRASHED = "crashed"
    NO_OUTPUT = "no_output"
    INVALID_OUTPUT = "invalid_output"
    START_FAILED = "start_failed"
    INFRASTRUCTURE = "infrastructure"


class Evidence(_Record):
    """Why the outcome is what it is. `summary` is one line for a table; the rest is what it rests on."""

    summary: str
    exit_code: int | None = None
    oom_killed: bool | None = Field(None, description="the engine's flag or the kernel's count of OOM kills")
    limit: float | None = Field(None, description="the limit that was reached, in its own unit")
    value: float | None = Field(None, description="the value seen against that limit, in the same unit")
    last_log_line: str = ""


class Stages(_Record):
    """Wall clock of each stage in seconds. `run_s` is what limits and leaderboards use."""

    create_s: float | None = None
    start_s: float | None = None
    run_s: float | None = Field(None, description="container start returned until the process was gone")
    teardown_s: float | None = None
    harvest_s: float | None = None


class Usage(_Record):
    """What the case used, and how each number was measured; None where it was not measured."""

    peak_memory_bytes: int | None = None
    peak_memory_method: Literal["cgroup-v1-max-usage", "cgroup-v2-peak", "sampled-lower-bound"] | None = None
    peak_working_set_bytes: int | None = Field(
        None, description="anonymous, shared and kernel memory, without the cache of files"
    )
    peak_working_set_method: Literal["interval-peaks", "sampled-lower-bound"] | None = Field(
        None, description="none where the working set was usage minus inactive file cache, sampled"
    )
    memory_auc_byte_s: float | None = None
    cpu_s: float | None = None
    cpu_utilisation_auc_percent_s: float | None = Field(
        None, description="percent of the cores the container may use, integrated over time"
    )
    throttled_s: float | None = None
    peak_gpu_memory_bytes: int | None = None
    gpu_memory_auc_byte_s: float | None = Field(None, description="above the challenge's free amount")
    gpu_method: str | None = None


class Prediction(_Record):
    """The harvested prediction, relative to the run's folder."""

    path: str
    sha256: str
    size_bytes: int


class ExecutionRecord(_Record):
    """One case's container from creation to harvest."""

    schema_version: Literal[1] = 1
    case: str
    attempt: int = 1
    outcome: Outcome
    evidence: Evidence
    started_at: datetime
    stages: Stages = Stages()
    usage: Usage = Usage()
    prediction: Prediction | None = None
    host: str = Field("", description="the host that ran it, where a run is spread over several")
    notes: tuple[str, ...] = Field((), description="what the gate noticed of an output that it let pass")
    files: dict[str, str] = Field({}, description="SHA-256 of the other files kept of the case, by name")
    previous_sha256: str = CHAIN_START
    hmac: str = Field("", description="made with the judge's key over this line, see harness.results.journal")
    sha256: str = Field("", description="SHA-256 of this line with this field empty")


class LabelScoreRecord(_Record):
    """Scores of one label of one case, as they were computed."""

    label: int
    organ: str
    scores: dict[str, Number | None] = Field(
        {},
        description="by metric; null where the rules leave the label out, empty where nothing was computed",
    )
    dsc: Number | None = Field(None, description="as in `scores`, where most readers look for it")
    nsd: Number | None = Field(None, description="as in `scores`, where most readers look for it")
    reference_ml: float | None = None
    prediction_ml: float | None = None
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _where_most_look(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("scores"), dict):
            return values
        return values | {name: values["scores"].get(name) for name in ("dsc", "nsd")}


class RaterScoreRecord(_Record):
    """A case's scores against the annotation of one of several raters."""

    rater: str
    scores: tuple[LabelScoreRecord, ...]
    case_scores: dict[str, Number | None] = {}


FORMER_SCORES = {"dsc": "dsc", "nsd": "nsd", "hd95_mm": "hd95", "assd_mm": "masd"}
"""Where version 1 of a score line holds which metric."""
NOT_ANNOTATED = "not annotated"
NO_PREDICTION = "no prediction"
"""The notes of labels that nothing was computed for."""


class ScoreRecord(_Record):
    """One case's scores: what was computed. What a failed case counts is decided when ranking.

    Version 1 held DSC and NSD in fields of their own, and in a failed case what the challenge charges. It is
    read as if it were version 2.
    """

    schema_version: Literal[2] = 2
    case: str
    profile: str
    evaluator_version: str
    prediction_sha256: str | None
    reference_sha256: str
    usable: bool = Field(True, description="false where no prediction could be compared with the reference")
    scores: tuple[LabelScoreRecord, ...]
    case_scores: dict[str, Number | None] = Field({}, description="metrics that are a number per case")
    raters: tuple[RaterScoreRecord, ...] = Field(
        (), description="where the case has several raters: against each; `scores` are against their consensus"
    )
    notes: tuple[str, ...] = ()
    previous_sha256: str = CHAIN_START
    hmac: str = Field("", description="made with the judge's key over this line, see harness.results.journal")
    sha256: str = Field("", description="SHA-256 of this line with this field empty")

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("schema_version") != 1:
            return values
        labels = values.get("scores")
        if not isinstance(labels, list | tuple) or not all(isinstance(label, dict) for label in labels):
            return values
        read = [_label_from_version_1(label) for label in labels]
        usable = values.get("prediction_sha256") is not None and not any(
            label.get("note") == NO_PREDICTION for label in labels
        )
        return values | {"schema_version": 2, "usable": usable, "scores": read}


def _label_from_version_1(label: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in label.items() if name not in FORMER_SCORES}
    scores = {}
    if label.get("note") not in (NOT_ANNOTATED, NO_PREDICTION):
        scores = {
            key: label[name]
            for name, key in FORMER_SCORES.items()
            if name in ("dsc", "nsd") or label.get(name) is not None
        }
    return kept | {"scores": scores}


class ImageFacts(_Record):
    """The image that was run, pinned."""

    reference: str
    digest: str = Field(description="the engine's own sha256 id of what ran")
    identity: str = Field(
        "", description="sha256 of the image's config as it was handed in, the same in every engine's store"
    )
    size_bytes: int
    user: str = ""
    platform: str = ""


class DatasetFacts(_Record):
    """The cases, in order, and the fingerprint over the bytes of every image and label."""

    name: str
    fingerprint: str
    cases: tuple[str, ...]
    annotated: dict[str, tuple[int, ...]] = Field(
        {}, description="labels annotated, for partially labelled cases"
    )


class HostKind(NamedTuple):
    """What must be equal for times of two hosts to be compared."""

    processor: str
    cores: int
    gpus: str
    engine: str
    cgroup_version: int | None
    isolated: bool
    runtime: str


class HostFacts(_Record):
    """What the run ran on."""

    cpu_model: str
    cores: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()
    gpu_driver: str = ""
    kernel: str
    engine: str = Field(description="name and version, 'process' for none")
    cgroup_version: Literal[1, 2] | None = None
    isolated: bool = Field(True, description="false for the process engine, whose rows are marked")
    runtime: str = Field("", description="OCI runtime, where another than the engine's own was asked for, or its own is an unusual one")

    @property
    def likeness(self) -> HostKind:
        """What kind of host this is. Times are compared, and a run is made, only where this agrees.

        Engines and cgroup versions start, throttle and count in ways of their own. An engine's version is
        left out: an update within a challenge's months must not part its rows.
        """
        return HostKind(
            processor=self.cpu_model,
            cores=self.cores,
            gpus=", ".join(self.gpus),
            engine=self.engine.partition(" ")[0].lower(),
            cgroup_version=self.cgroup_version,
            isolated=self.isolated,
            runtime=self.runtime,
        )

    def unlike(self, there: HostFacts) -> list[str]:
        """Return how this host differs in kind from another, in words; nothing where they are alike."""
        pairs = zip(HostKind._fields, self.likeness, there.likeness, strict=True)
        return [
            f"{name.replace('_', ' ')}: {_shown(mine)} here, {_shown(other)} there"
            for name, mine, other in pairs
            if mine != other
        ]

    def one_line(self) -> str:
        """Return the host as a person tells it from others."""
        parts = [f"{self.cpu_model}, {self.cores} cores", f"{self.memory_bytes / 1024**3:.0f} GiB", *self.gpus]
        parts += [f"{self.engine}, cgroup v{self.cgroup_version}" if self.cgroup_version else self.engine]
        parts += [f"runtime {self.runtime}"] if self.runtime else []
        return ", ".join(part for part in parts if part)


def _shown(fact: object) -> str:
    return "none" if fact in ("", None) else str(fact)


class OptOuts(_Record):
    """Isolation given up for this submission; shown on the leaderboard."""

    requires_root: bool = False
    writable_root: bool = False
    writable_inputs: bool = Field(False, description="a private copy of the inputs that it may write to")


class RunRecord(_Record):
    """What was run: all that another host needs to do it again."""

    schema_version: Literal[1] = 1
    contract_version: Literal[1, 2] = 1
    run: str
    team: str
    title: str = Field("", max_length=200)
    source: Literal["container", "predictions", "raters", "imported"] = Field(
        "container",
        description="'predictions': a folder scored without running anything; time is unknown. 'raters': the "
        "references' own raters, each scored against each of the others. 'imported': numbers out of "
        "others' tables, neither measured nor scored here",
    )
    imported: dict[str, str] = Field({}, description="SHA-256 of the tables that were imported, by name")
    challenge: Challenge
    limits: Limits = Field(description="as enforced")
    dataset: DatasetFacts
    image: ImageFacts | None = None
    opt_outs: OptOuts = OptOuts()
    host: HostFacts | None = None
    versions: dict[str, str] = {}
    argv: tuple[str, ...] = ()
    baseline_s: float | None = Field(None, description="run_s of a container that does nothing, on this host")
    device: Literal["cpu", "cuda"] = Field("cpu", description="what the submission asks for")
    cpuset: str = Field("", description="cores that containers were kept to; empty for all")
    output_bound: Literal["file system", "counted"] = Field(
        "counted", description="what ends a container's writing: a file system of that size, or our counting"
    )
    jobs: int = Field(1, description="containers that ran at once; above 1 the times are not comparable")
    created_at: datetime
    key: str = Field("", description="id of the key that signs this run's lines and seal")


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schemas of the results format by file name."""
    return {
        "run.schema.json": RunRecord.model_json_schema(mode="serialization"),
        "cases.schema.json": ExecutionRecord.model_json_schema(mode="serialization"),
        "scores.schema.json": ScoreRecord.model_json_schema(mode="serialization"),
    }
