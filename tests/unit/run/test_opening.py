"""What is decided before the first case: cores and the OCI runtime."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from harness.engine.base import EngineFacts
from harness.errors import PrerequisiteError
from harness.run.host import host_facts
from harness.run.opening import _slots, check_engine, chosen_runtime, note_what_it_lacks

FACTS = EngineFacts("docker", "28", True, runtimes=("runc", "kata"))


@pytest.mark.parametrize(
    ("cpus", "jobs", "slots"),
    [
        (1.0, 1, ("0",)),
        (1.5, 1, ("0,1",)),
        (2.0, 2, ("0,1", "2,3")),
        (1.0, 4, ("0", "1", "2", "3")),
        (3.0, 2, ("0,1,2", "0,1,3")),
    ],
)
def test_each_slot_has_as_many_cores_as_its_quota(cpus: float, jobs: int, slots: tuple[str, ...]) -> None:
    assert _slots([0, 1, 2, 3], cpus, jobs) == slots


def wish(host: str, challenge: str) -> Any:
    return SimpleNamespace(
        runtime=host, challenge=SimpleNamespace(contract=SimpleNamespace(runtime=challenge))
    )


def test_the_hosts_person_chooses_the_runtime_before_the_challenge() -> None:
    assert chosen_runtime(wish("kata", "runc"), FACTS) == "kata"
    assert chosen_runtime(wish("", "kata"), FACTS) == "kata"
    assert chosen_runtime(wish("", ""), FACTS) == ""


def test_a_runtime_that_the_engine_does_not_know_is_named_with_those_it_does() -> None:
    with pytest.raises(PrerequisiteError, match=r"'runsc' .*it knows runc, kata"):
        chosen_runtime(wish("", "runsc"), FACTS)


def test_an_unusual_runtime_makes_another_host() -> None:
    usual, unusual = host_facts(FACTS), host_facts(FACTS, runtime="kata")
    assert (usual.runtime, unusual.runtime) == ("", "kata")
    assert usual.likeness != unusual.likeness
    crun = replace(FACTS, runtimes=("crun", "runc"))
    assert [host_facts(crun, runtime=asked).runtime for asked in ("", "crun", "runc")] == ["", "", "runc"]
    sandboxed = replace(FACTS, runtimes=("runsc", "runc"))
    assert [host_facts(sandboxed, runtime=asked).runtime for asked in ("", "runsc")] == ["runsc", "runsc"]


def test_an_engine_that_filters_no_system_calls_is_told_of() -> None:
    notes: list[str] = []
    observer: Any = SimpleNamespace(note=notes.append)
    note_what_it_lacks(FACTS, observer)
    assert notes == []
    note_what_it_lacks(replace(FACTS, filters_calls=False), observer)
    assert "filters no system calls" in notes[0]


def test_another_engine_or_cgroup_version_makes_another_host_and_an_update_does_not() -> None:
    facts = replace(FACTS, cgroup_version=2)
    here = host_facts(facts).likeness
    assert here == host_facts(replace(facts, version="29")).likeness
    assert here != host_facts(replace(facts, name="podman")).likeness
    assert here != host_facts(replace(facts, cgroup_version=1)).likeness


def test_an_engine_that_limits_nothing_runs_nothing() -> None:
    check_engine(FACTS)
    check_engine(EngineFacts("podman", "5", True, cgroup_version=2, rootless=True))
    with pytest.raises(PrerequisiteError, match=r"neither memory nor CPU.*cgroup version 2"):
        check_engine(EngineFacts("podman", "5", True, cgroup_version=1, rootless=True))
