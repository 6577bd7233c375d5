"""What runs with `docker run` at home runs here, and an image that cannot start is a verdict."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest
from containers import Arena, label_of, make_dataset
from docker.errors import ImageNotFound

from harness.engine.docker import DockerEngine
from harness.engine.probe import TOOLS
from harness.errors import InfrastructureError
from harness.results.folder import RunResults
from harness.results.records import OptOuts, Outcome
from harness.run.context import RUN_LABEL
from harness.run.evaluate import evaluate
from harness.run.request import container_owner

pytestmark = pytest.mark.engine

PERFECT = """
in=$(ls "$FLARE_INPUTS")
cp /workspace/good.nii.gz "$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
"""
Build = Callable[..., str]


@pytest.fixture
def built(arena: Arena) -> Iterator[Build]:
    """Make an image from a script's by lines of a Dockerfile, with changed files; gone afterwards."""
    images = arena.engine.client.images

    def removed(image: str) -> None:
        with suppress(ImageNotFound):
            images.remove(image, force=True)

    with ExitStack() as undone:

        def build(script: str, *lines: str, files: dict[str, bytes] | None = None) -> str:
            dockerfile = "\n".join([f"FROM {arena.image(script, files)}", *lines])
            image, _ = images.build(fileobj=io.BytesIO(dockerfile.encode()), rm=True, network_mode="none")
            undone.callback(removed, str(image.id))
            return str(image.id)

        yield build


def run(arena: Arena, image: str, **changes: object) -> RunResults:
    return evaluate(replace(arena.request(""), image=image, **changes), engine=arena.engine)  # type: ignore[arg-type]


def test_weights_below_a_home_of_the_images_own_are_found(arena: Arena, built: Build) -> None:
    image = built(
        'set -e\ntest -f "$HOME/.cache/torch/w.pth"\ntest -z "$TORCH_HOME$XDG_CACHE_HOME"\n' + PERFECT,
        "ENV HOME=/opt/home",
        files={"/opt/home/.cache/torch/w.pth": b"weights"},
    )
    assert run(arena, image).executions[0].outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("mode", ["755", "700", "555", "000"])
def test_tmp_is_writable_whatever_mode_the_images_own_has(arena: Arena, built: Build, mode: str) -> None:
    if arena.engine.facts.name == "podman" and mode in ("555", "000"):
        pytest.skip("STAYS CLOSED ON PODMAN with runc before 1.2, see docs/at-home.md")
    script = 'set -e\necho x > /tmp/x\necho x > "$HOME/y"\ngrep " /tmp " /proc/mounts\n' + PERFECT
    results = run(arena, built(script, f"RUN chmod {mode} /tmp"))
    assert results.executions[0].outcome is Outcome.SUCCEEDED, results.executions[0].evidence
    _, where, kind, options, *_ = arena.log(results).split()
    assert (where, kind) == ("/tmp", "tmpfs")
    assert {"nosuid", "nodev", f"size={32 * 1024}k"} <= set(options.split(","))


VOLUMES = ["/workspace", "/workspace/", "/weights", "/workspace /weights", "/weights/deeper /weights", "/etc"]


@pytest.mark.parametrize("volumes", VOLUMES)
def test_a_volume_hides_nothing_of_the_image_and_takes_nothing(
    arena: Arena, built: Build, volumes: str
) -> None:
    script = (
        "set -e\ntest -f /weights/deeper/w.pth\n(: > /weights/x) 2>/dev/null && echo WRITTEN || true\n"
        + PERFECT
    )
    image = built(
        script,
        f"VOLUME {volumes}",
        files={"/weights/deeper/w.pth": b"weights"},
    )
    results = run(arena, image, dataset=make_dataset(arena.folder / "two", cases=2))
    assert {execution.outcome for execution in results.executions} == {Outcome.SUCCEEDED}
    assert "WRITTEN" not in arena.log(results)
    label = {"label": f"{RUN_LABEL}={label_of(arena.folder)}"}
    assert arena.engine.client.volumes.list(filters=label) == []


CANNOT_START = [
    ("WORKDIR is a file", ("WORKDIR /opt/place", "RUN cd / && rm -r /opt/place && : > /opt/place")),
    ("a file lies where the inputs go", ("RUN rm -rf /workspace/inputs; : > /workspace/inputs",)),
    ("a volume below the inputs", ("VOLUME /workspace/inputs/deeper",)),
    ("a volume over /proc", ("VOLUME /proc",)),
]


@pytest.mark.parametrize(("what", "lines"), CANNOT_START, ids=[row[0] for row in CANNOT_START])
def test_an_image_that_no_engine_can_start_has_a_verdict(
    arena: Arena, built: Build, what: str, lines: tuple[str, ...]
) -> None:
    image = built(PERFECT, *lines)
    results = run(arena, image, dataset=make_dataset(arena.folder / "two", cases=2))
    assert [execution.outcome for execution in results.executions] == [Outcome.START_FAILED] * 2
    assert [execution.attempt for execution in results.executions] == [1, 1]
    assert results.executions[0].evidence.summary.startswith("the container could not be started: ")
    assert len(results.scores) == 2


def test_an_image_that_goes_away_is_not_the_submissions_fault(arena: Arena, built: Build) -> None:
    image = built(PERFECT, "ENV A=b")

    class Removing(DockerEngine):
        def copy_declared(self, *arguments: object, **options: object) -> tuple[()]:
            self.client.images.remove(image, force=True)
            return ()

    engine = Removing(arena.engine.client, arena.engine.address or "")
    with pytest.raises(InfrastructureError, match="went away"):
        evaluate(replace(arena.request(PERFECT), image=image), engine=engine)


def test_a_quota_is_what_a_program_counts(arena: Arena) -> None:
    results = arena.run("grep Cpus_allowed_list /proc/self/status\n" + PERFECT, cpus=1.0)
    assert arena.log(results).split() == ["Cpus_allowed_list:", "0"]
    assert results.record.cpuset == "0"


def test_shared_memory_follows_the_memory_limit_unless_told_otherwise(arena: Arena) -> None:
    results = arena.run('grep " /dev/shm " /proc/mounts\n' + PERFECT, shm_bytes=None)
    assert f"size={128 * 1024}k" in arena.log(results)


def test_inputs_may_be_a_private_copy_to_write_to(arena: Arena) -> None:
    script = (
        'set -e\nmkdir "$FLARE_INPUTS/raw"\nfor file in "$FLARE_INPUTS"/*.gz; do echo x >> "$file"; done\n'
    )
    plain = arena.run(script + PERFECT)
    assert plain.executions[0].outcome is Outcome.CRASHED
    assert "writable_inputs" in plain.executions[0].evidence.summary
    opted = arena.run(script + "rm -r $FLARE_INPUTS/raw\n" + PERFECT, opt_outs=OptOuts(writable_inputs=True))
    assert opted.executions[0].outcome is Outcome.SUCCEEDED, opted.executions[0].evidence
    assert opted.record.opt_outs.writable_inputs
    (cached,) = (arena.folder / "cache").iterdir()
    assert not cached.read_bytes().endswith(b"x\n"), "the cached input was written to"


def test_what_goes_into_writable_inputs_counts_as_output(arena: Arena) -> None:
    script = 'for name in a b; do dd if=/dev/zero of="$FLARE_INPUTS/$name" bs=1M count=30; done; sleep 30'
    (execution,) = arena.run(script, opt_outs=OptOuts(writable_inputs=True)).executions
    assert execution.outcome is Outcome.OUTPUT_LIMIT


NAMES = """
echo "$(whoami) $(getent passwd "$(id -u)")"
getent hosts localhost
getent hosts "$(cat /proc/sys/kernel/hostname)"
"""
PASSWD = {
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh",
    "/etc/nsswitch.conf": b"passwd: files\nhosts: files\n",
}


def test_user_and_loopback_have_names(arena: Arena) -> None:
    """Programs that ask for the name of their user, of localhost or of their own host get an answer."""
    uid, gid = container_owner(OptOuts())[0]
    request = arena.request(NAMES + PERFECT, PASSWD, tools=(*TOOLS, "whoami"))
    results = evaluate(request, engine=arena.engine)
    user, localhost, own = arena.log(results).splitlines()
    assert user == f"submission submission:x:{uid}:{gid}::/tmp:/bin/sh"
    assert localhost.split()[1] == "localhost"
    assert own.split()[0] == "127.0.0.1"


def test_a_user_that_the_image_names_keeps_that_name(arena: Arena) -> None:
    uid, gid = container_owner(OptOuts())[0]
    content = f"root:x:0:0:root:/root:/bin/sh\nmine:x:{uid}:{gid}:me:/opt:/bin/bash\n".encode()
    results = evaluate(arena.request("cat /etc/passwd", {"/etc/passwd": content}), engine=arena.engine)
    assert arena.log(results).encode() == content


def test_another_runtime_runs_the_case_and_is_in_the_row(arena: Arena) -> None:
    others = [name for name in arena.engine.facts.runtimes if name != arena.engine.facts.runtimes[0]]
    if "io.containerd.runc.v2" not in others:
        pytest.skip(f"NO SECOND RUNTIME: this engine knows {arena.engine.facts.runtimes}")
    results = evaluate(replace(arena.request(PERFECT), runtime="io.containerd.runc.v2"), engine=arena.engine)
    assert results.executions[0].outcome is Outcome.SUCCEEDED
    assert results.record.host is not None
    assert results.record.host.runtime == "io.containerd.runc.v2"


def test_run_time_begins_when_the_engine_says_that_it_started(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that answers `start` late hides no work."""
    import time

    api, prompt = arena.engine.client.api, arena.engine.client.api.start

    def late(container: str) -> None:
        prompt(container)
        time.sleep(1.5)

    request = arena.request("sleep 0.5\n" + PERFECT)
    monkeypatch.setattr(api, "start", late)
    (execution,) = evaluate(request, engine=arena.engine).executions
    assert execution.outcome is Outcome.SUCCEEDED
    assert execution.stages.run_s is not None
    assert execution.stages.run_s >= 0.5


@pytest.mark.parametrize("folder", ["/dev/shm", "/tmp"])
def test_a_full_folder_is_seen_in_a_container_that_is_over_before_its_start_is_answered(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    import time

    api, prompt = arena.engine.client.api, arena.engine.client.api.start

    def late(container: str) -> None:
        prompt(container)
        time.sleep(2.0)

    request = arena.request(f"dd if=/dev/zero of={folder}/x bs=1M count=40 2>/dev/null || exit 1")
    monkeypatch.setattr(api, "start", late)
    (execution,) = evaluate(request, engine=arena.engine).executions
    assert execution.outcome is Outcome.CRASHED
    assert f"{folder} was full" in execution.evidence.summary


def test_no_health_check_runs(arena: Arena, built: Build) -> None:
    image = built(
        "sleep 1.5\nls /tmp\n" + PERFECT,
        "HEALTHCHECK --interval=1s --start-period=1ms CMD touch /tmp/checked",
    )
    results = run(arena, image)
    assert results.executions[0].outcome is Outcome.SUCCEEDED
    assert "checked" not in arena.log(results)
