"""What one case may use."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.challenge.words import from_words

MIB = 1024**2
GIB = 1024**3

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Record(BaseModel):
    """A part of a challenge: frozen, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Record):
    """What one case's container may use. Sizes are bytes, times are seconds of wall clock.

    In TOML both may be in words: `memory = "4 GiB"` for `memory_bytes`, `time = "5 min"` for `time_s`.
    """

    memory_bytes: PositiveInt = Field(
        description="resident memory, page cache and tmpfs together; swap is off"
    )
    time_s: PositiveFloat = Field(description="wall clock of one case, from start to exit")
    cpus: PositiveFloat | None = Field(None, description="CPU quota; none gives the whole host")
    gpu: bool = Field(False, description="whether a container may use one GPU; a CPU submission runs without")
    gpu_memory_bytes: PositiveInt | None = Field(
        None, description="device memory; exceeding it kills the case"
    )
    shm_bytes: PositiveInt | None = Field(
        None, description="size of /dev/shm, counted within memory_bytes; none gives it as much as those"
    )
    tmp_bytes: PositiveInt = Field(2 * GIB, description="size of the tmpfs /tmp, counted within memory_bytes")
    output_bytes: PositiveInt = Field(
        2 * GIB, description="everything under the output folder, watched while running"
    )
    log_bytes: PositiveInt = Field(16 * MIB, description="kept log; a longer one loses its middle")

    @model_validator(mode="before")
    @classmethod
    def _in_words(cls, values: Any) -> Any:
        return from_words(values, cls.model_fields)

    @property
    def shared_memory_bytes(self) -> int:
        """The size that /dev/shm gets."""
        return min(self.shm_bytes or self.memory_bytes, self.memory_bytes)
