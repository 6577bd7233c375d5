"""The Docker engine's edges that need no engine: addresses, refusals, and the stream's frames."""

from __future__ import annotations

import os
import random
import struct
from types import SimpleNamespace

import pytest
from docker.errors import APIError

from harness.engine.answers import refusal
from harness.engine.base import EngineFacts, StartRefused
from harness.engine.docker import DockerEngine
from harness.engine.docker_container import DockerContainer
from harness.engine.logs import LogKeeper
from harness.errors import InfrastructureError, PrerequisiteError

REFUSALS = [
    ('OCI runtime create failed: exec: "/bin/bash": stat /bin/bash: no such file or directory', StartRefused),
    ("exec /bin/sh: exec format error", StartRefused),
    ("No command specified", StartRefused),
    ("image operating system windows does not match", StartRefused),
    ('could not select device driver "nvidia" with capabilities: [[gpu]]', PrerequisiteError),
    ("container-init binary not found on the host: stat /usr/libexec/podman/catatonit", PrerequisiteError),
    (
        "AppArmor enabled on system but the docker-default profile could not be loaded: "
        'failed with output: exec: "apparmor_parser": executable file not found in $PATH',
        PrerequisiteError,
    ),
    ("cgroups: cgroup mountpoint does not exist: unknown", PrerequisiteError),
    (
        'invalid mount config for type "bind": bind source path does not exist: /results/.work/x/outputs',
        PrerequisiteError,
    ),
    ("mkdir /var/lib/docker/overlay2/x: no space left on device", InfrastructureError),
    ("error mounting /results/.work/x: no such file or directory", InfrastructureError),
    ("error setting rlimit type 7: operation not permitted", InfrastructureError),
]


@pytest.mark.parametrize(("text", "kind"), REFUSALS)
def test_the_images_faults_are_told_from_the_hosts(text: str, kind: type[Exception]) -> None:
    assert type(refusal(APIError("500", explanation=text), "starting a container")) is kind


def facts(**info: object) -> EngineFacts:
    """Return what an engine is that says this of itself."""
    podman = [{"Name": "Podman Engine"}] if info.pop("podman", False) else []
    api = SimpleNamespace(
        info=lambda: {"CgroupVersion": "1"} | info, version=lambda: {"Version": "1", "Components": podman}
    )
    return DockerEngine(SimpleNamespace(api=api), "").facts


ENGINES = [
    ("root's", {}, (False, False, True)),
    ("with mapped users", {"SecurityOptions": ["name=userns"]}, (True, False, True)),
    ("an ordinary user's", {"SecurityOptions": ["name=rootless"], "CgroupVersion": "2"}, (True, True, True)),
    ("the same on version 1", {"SecurityOptions": ["name=rootless"]}, (True, True, False)),
    ("Podman", {"podman": True, "Rootless": False}, (False, False, True)),
    # It keeps the user's id in containers.
    ("a user's Podman", {"podman": True, "Rootless": True, "CgroupVersion": "2"}, (False, True, True)),
]


@pytest.mark.parametrize(("name", "info", "expected"), ENGINES, ids=[row[0] for row in ENGINES])
def test_what_an_engine_says_of_users_and_limits(
    name: str, info: dict[str, object], expected: tuple[bool, bool, bool]
) -> None:
    found = facts(**info)
    assert (found.maps_users, found.rootless, found.limits) == expected


@pytest.mark.parametrize("seed", range(5))
def test_the_frames_of_a_stream_are_joined_however_they_are_cut(seed: int) -> None:
    source = random.Random(seed)
    payloads = [source.randbytes(source.choice((0, 1, 7, 300))) for _ in range(40)]
    stream = b"".join(
        struct.pack(">BxxxL", source.choice((1, 2)), len(payload)) + payload for payload in payloads
    )
    receive, send = os.pipe()
    os.set_blocking(send, True)
    log = LogKeeper(1 << 20)
    container = DockerContainer(SimpleNamespace(), "feed", log, writable_root=False)
    container._stream = SimpleNamespace(fileno=lambda: receive)
    container._run_beside(container._read_stream)
    while stream:
        step = source.randint(1, 40)
        os.write(send, stream[:step])
        stream = stream[step:]
    os.close(send)
    container._threads[0].join(10)
    os.close(receive)
    assert log.content() == b"".join(payloads)
