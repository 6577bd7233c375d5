"""What lies in the queue: offers, leases, ends. Plain data, one JSON object a file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.cluster.identity import Holder
from harness.data.dataset import Case
from harness.results.records import HostFacts, Outcome, RunRecord


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OfferedCase(_Record):
    """A case, by paths that every host sees.

    Attributes:
        attempt: The number of its first attempt in this offer.
        size_bytes: Of all its files, so that another folder under the same name is known.
    """

    id: str
    channels: tuple[Path, ...]
    label: Path | None
    annotated: tuple[int, ...] | None
    raters: tuple[tuple[str, Path], ...] = ()
    attempt: int = 1
    size_bytes: int

    @classmethod
    def of(cls, case: Case, attempt: int) -> OfferedCase:
        """Return a case as an offer holds it."""
        return cls(
            id=case.id,
            channels=tuple(path.resolve() for path in case.channels),
            label=case.label.resolve() if case.label is not None else None,
            annotated=case.annotated,
            raters=tuple((name, path.resolve()) for name, path in case.raters),
            attempt=attempt,
            size_bytes=sum(path.stat().st_size for path in case.files),
        )

    def case(self) -> Case:
        """Return it as the rest of the harness knows it."""
        return Case(
            self.id, self.channels[0], self.label, self.annotated, self.channels[1:], raters=self.raters
        )


class OfferedImage(_Record):
    """The image, and how a host gets it that has not got it.

    Attributes:
        reference: The tag under which hosts keep it; for the process engine the submission's folder.
        archive: What `docker save` wrote; None where every worker shares the engine.
    """

    reference: str
    archive: Path | None = None
    diff_ids: tuple[str, ...] = ()


class Offer(_Record):
    """A run that workers may take cases of.

    Attributes:
        record: What run.json will hold, but for the host, which the first worker tells.
        cases: Those without a verdict, in the order in which they are run.
        data: The data set's folder.
        slots: Workers that a host runs beside each other.
        lease_s: See `harness.cluster.heartbeat`.
        begun: The host that the run was begun on, if it was.
        used_s: Seconds that containers of the run took before this offer.
    """

    record: RunRecord
    cases: tuple[OfferedCase, ...]
    image: OfferedImage
    engine: str
    environment: tuple[str, ...] = ()
    data: Path
    profile: str
    score: bool = True
    slots: int = 1
    lease_s: float
    begun: HostFacts | None = None
    used_s: float = 0.0


class Division(_Record):
    """The hosts that a run is made on, by the first one of them; others must be like it.

    Attributes:
        speed_s: What a fixed piece of work took in a container there; see `harness.run.baseline`.
    """

    host: HostFacts
    baseline_s: float | None = None
    speed_s: float | None = None
    cpuset: str = ""
    output_bound: Literal["file system", "counted"] = "counted"


class Lease(_Record):
    """A case is somebody's."""

    kind: Literal["lease"] = "lease"
    holder: Holder


class End(_Record):
    """A case came to its end, and these lines of its holder's journals tell of it."""

    kind: Literal["end"] = "end"
    holder: Holder
    outcome: Outcome
    execution_sha256: str
    score_sha256: str = ""


class Slot(_Record):
    """What the file of one fencing number holds."""

    content: Lease | End = Field(discriminator="kind")
