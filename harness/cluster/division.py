"""The kind of host that a run is made on: the first worker tells it, and others must be like it."""

from __future__ import annotations

import json
from pathlib import Path

from harness.cluster.identity import Holder
from harness.cluster.queue import RunQueue
from harness.cluster.records import Division
from harness.errors import ConfigurationError
from harness.files import write_whole
from harness.results.records import RunRecord

HOSTS_FILE = "hosts.json"


def check_division(ours: Division, theirs: Division) -> None:
    """Check that a host is like those that a run is made on.

    Raises:
        ConfigurationError: it is of another kind; see `HostFacts.likeness`.
    """
    if unlike := ours.host.unlike(theirs.host):
        raise ConfigurationError(
            f"this host is unlike those that the run is made on ({'; '.join(unlike)})",
            mend="Times of unlike hosts are not mixed in one run: keep to hosts of one kind.",
        )


def write_host(queue: RunQueue, holder: Holder, division: Division) -> None:
    """Leave word of a host that works on a run, with its speed."""
    queue.shared.put_new(f"journals/{holder.worker}.host.json", division.model_dump_json().encode())


def on_division(record: RunRecord, division: Division) -> RunRecord:
    """Return what run.json holds of a run that is made on hosts of this kind."""
    return record.model_copy(
        update={
            "host": division.host,
            "baseline_s": division.baseline_s,
            "cpuset": division.cpuset,
            "output_bound": division.output_bound,
        }
    )


def write_hosts(queue: RunQueue, folder: Path) -> None:
    """Write who ran cases, and how fast each was against the first: 2 took half as long."""
    first = queue.division()
    rows = []
    for name in queue.shared.names("journals"):
        if name.endswith(".host.json") and (content := queue.shared.read(f"journals/{name}")) is not None:
            found = Division.model_validate_json(content)
            relative = None
            if first is not None and first.speed_s and found.speed_s:
                relative = round(first.speed_s / found.speed_s, 3)
            row = {
                "worker": name.removesuffix(".host.json"),
                "relative_speed": relative,
                "facts": found.model_dump(mode="json"),
            }
            rows.append(json.dumps(row, separators=(",", ":")))
    write_whole(folder / HOSTS_FILE, "[\n" + ",\n".join(rows) + "\n]\n")
