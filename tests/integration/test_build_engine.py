"""docker/engine.sh starts an engine on a host that has none, and says what to do where it may not."""

import os
import shutil
import subprocess
import sys

import pytest

SCRIPT = "docker/engine.sh"
NOWHERE = "unix:///nonexistent/docker.sock"

# A host without an engine: own mounts, processes and network; nothing of the real engine is seen or touched.
IN_A_HOST_OF_ITS_OWN = """
set -e
mount --make-rprivate /
for folder in /run /var/lib/docker /var/log; do mount -t tmpfs tmpfs $folder; done
echo 1 >/var/run/docker.pid  # alive, and no dockerd: what a killed engine's pid may have become
sh docker/engine.sh
test "$(cat /proc/$(cat /var/run/docker.pid)/comm)" = dockerd
sh docker/engine.sh
kill -9 "$(cat /var/run/docker.pid)"
while sh -c "$PYTHON docker/ping.py"; do sleep 0.1; done
sh docker/engine.sh
"""


def run(*argv, repository, **environment):
    return subprocess.run(
        argv,
        cwd=repository,
        env=os.environ | {"PYTHON": sys.executable} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.engine
def test_it_does_nothing_where_an_engine_answers(engine, repository):
    done = run("sh", SCRIPT, repository=repository)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "engine: an engine answers\n"


def test_with_engine_manual_it_says_how_to_get_one(repository, tmp_path):
    hidden = run("sh", SCRIPT, repository=repository, DOCKER_HOST=NOWHERE, ENGINE="manual")
    assert hidden.returncode == 3
    assert hidden.stderr.count("\n") == 1
    assert "no engine answers at DOCKER_HOST" in hidden.stderr
    assert "make engine" in hidden.stderr and "DOCKER_HOST" in hidden.stderr


def can_make_a_host_of_its_own():
    return (
        os.geteuid() == 0
        and shutil.which("dockerd", path=os.environ["PATH"] + ":/usr/sbin") is not None
        and subprocess.run(["unshare", "-m", "-n", "-p", "--fork", "true"], check=False).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.skipif(not can_make_a_host_of_its_own(), reason="NEEDS ROOT, dockerd AND namespaces")
def test_it_starts_an_engine_over_a_stale_pid_file_and_after_a_kill(repository):
    namespaces = ["unshare", "-m", "-n", "-p", "--fork", "--mount-proc", "--kill-child"]
    done = run(*namespaces, "sh", "-c", IN_A_HOST_OF_ITS_OWN, repository=repository)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("engine: starting dockerd") == 2
    assert done.stderr.count("engine: an engine answers") == 3


@pytest.mark.skipif(not can_make_a_host_of_its_own(), reason="NEEDS ROOT AND namespaces")
def test_with_engine_manual_nothing_is_started(repository):
    hide = "mount --make-rprivate / && mount -t tmpfs tmpfs /run && exec sh docker/engine.sh"
    done = run("unshare", "-m", "sh", "-c", hide, repository=repository, ENGINE="manual")
    assert done.returncode == 3
    assert "ENGINE=manual leaves it to you" in done.stderr
    assert "starting" not in done.stderr
