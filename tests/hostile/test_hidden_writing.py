"""What is written where nobody looks: bounded by a file system of its own, and counted there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from containers import MIB, Arena

from harness.results.observer import Observer
from harness.results.records import OptOuts, Outcome
from harness.run.evaluate import evaluate
from harness.run.space import make_template, mount_space, unmount_below, used_bytes

pytestmark = pytest.mark.engine

DELETED_WHILE_OPEN = """
exec 3> "$FLARE_OUTPUTS/a" 4> "$FLARE_OUTPUTS/b" 5> "$FLARE_OUTPUTS/c"
rm "$FLARE_OUTPUTS"/?
for file in 3 4 5; do dd if=/dev/zero bs=1M count=40 >&$file; done
sleep 30
"""
IN_A_CLOSED_FOLDER = """
mkdir "$FLARE_OUTPUTS/closed"
chmod 0300 "$FLARE_OUTPUTS/closed"
for name in a b c; do dd if=/dev/zero of="$FLARE_OUTPUTS/closed/$name" bs=1M count=40; done
sleep 30
"""
RESERVED_AT_ONCE = """
for name in 1 2 3 4 5 6 7 8; do fallocate -l 48M "$FLARE_OUTPUTS/$name"; done
"""
OPENS_MANY_FILES = """
i=0
while [ $i -lt 60 ]; do
  bash -c 'n=10; while [ $n -lt 16000 ]; do eval "exec $n</dev/null"; n=$((n+1)); done; sleep 60' &
  i=$((i+1))
done
wait
"""


@pytest.fixture
def bounded(tmp_path: Path) -> None:
    """Skip where this host cannot mount a file system for the output."""
    folder = tmp_path / "try"
    folder.mkdir()
    if make_template(folder, MIB) is None:
        pytest.skip("NOT BOUNDED HERE: a file system for the output takes root, loop devices and mkfs.ext4")


@pytest.mark.parametrize("script", [DELETED_WHILE_OPEN, IN_A_CLOSED_FOLDER], ids=["deleted", "closed"])
def test_hidden_files_count(arena: Arena, bounded: None, script: str) -> None:
    (execution,) = arena.run(script).executions
    assert execution.outcome is Outcome.OUTPUT_LIMIT, execution.evidence
    assert execution.stages.run_s is not None
    assert execution.stages.run_s < 20


def test_space_that_is_reserved_at_once_is_refused_by_the_file_system(arena: Arena, bounded: None) -> None:
    program = shutil.which("fallocate")
    assert program is not None
    free: list[int] = []

    class Watching(Observer):
        def case_stage(self, case: str, stage: str) -> None:
            free.append(shutil.disk_usage(arena.folder).free)

    request = arena.request(RESERVED_AT_ONCE, {"/bin/fallocate": Path(program).read_bytes()})
    results = evaluate(request, engine=arena.engine, observer=Watching())
    assert results.executions[0].outcome is Outcome.OUTPUT_LIMIT
    # How many are tried before the container is killed is a matter of luck; none of them may get more.
    assert "No space left on device" in arena.log(results)
    assert results.record.output_bound == "file system"


def test_a_set_uid_shell_is_worth_nothing_outside(arena: Arena, bounded: None) -> None:
    script = 'cp /bin/bash "$FLARE_OUTPUTS/sh"; chmod 4755 "$FLARE_OUTPUTS/sh"; grep /outputs /proc/mounts'
    modes: list[int] = []

    class Looking(Observer):
        def case_stage(self, case: str, stage: str) -> None:
            if stage == "run":
                modes.append((arena.folder / "results" / ".work").stat().st_mode & 0o777)

    request = arena.request(script, opt_outs=OptOuts(requires_root=True))
    results = evaluate(request, engine=arena.engine, observer=Looking())
    assert {"nosuid", "nodev"} <= set(arena.log(results).split()[3].split(","))
    # Mapped users must be able to pass through to their output, by a name that they cannot list.
    assert modes == [0o711 if arena.engine.facts.maps_users else 0o700]


def test_without_a_file_system_of_its_own_deleted_files_are_counted(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for the harness of an ordinary user."""
    monkeypatch.setattr("harness.run.opening.make_template", lambda folder, size_bytes: None)
    notes: list[str] = []

    class Listening(Observer):
        def note(self, text: str) -> None:
            notes.append(text)

    results = evaluate(arena.request(DELETED_WHILE_OPEN), engine=arena.engine, observer=Listening())
    assert results.executions[0].outcome is Outcome.OUTPUT_LIMIT
    assert results.record.output_bound == "counted"
    assert any("counted, not bounded" in note for note in notes)


def test_open_files_are_bounded_over_all_processes(arena: Arena) -> None:
    (execution,) = arena.run(OPENS_MANY_FILES, memory_bytes=4096 * MIB, time_s=60.0).executions
    assert execution.outcome is Outcome.CRASHED, execution.evidence
    assert "open files over all its processes" in execution.evidence.summary


def test_a_space_is_as_large_as_asked_and_gone_afterwards(tmp_path: Path, bounded: None) -> None:
    template = make_template(tmp_path, 32 * MIB)
    assert template is not None
    folder = tmp_path / "space"
    folder.mkdir()
    mount_space(template, folder)
    empty = used_bytes(folder)
    with pytest.raises(OSError, match="No space left"), (folder / "file").open("wb", buffering=0) as file:
        for _ in range(64):
            file.write(bytes(MIB))
    assert 32 * MIB <= used_bytes(folder) - empty <= 48 * MIB
    unmount_below(tmp_path)
    assert list(folder.iterdir()) == []
    assert not os.path.ismount(folder)
