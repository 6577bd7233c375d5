"""The harness asks the engine that the `docker` program would ask."""

import hashlib
import json

import pytest

from harness.engine.address import addresses
from harness.engine.docker import connect
from harness.errors import PrerequisiteError


@pytest.fixture(autouse=True)
def configuration(tmp_path, monkeypatch):
    """An empty docker configuration, and nothing chosen by the environment."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def make_context(folder, name, host):
    meta = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    endpoints = {"docker": {"Host": host, "SkipTLSVerify": False}}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoints}))


def urls(chosen=None):
    return [address.url for address in addresses(chosen)]


def test_an_address_given_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///from/environment.sock")
    assert urls("unix:///given.sock") == ["unix:///given.sock"]
    assert urls() == ["unix:///from/environment.sock"]


def test_without_a_choice_a_usual_socket_is_tried():
    assert urls() and all(url.startswith("unix:///") for url in urls())


def test_a_chosen_context_is_followed_and_named(configuration):
    make_context(configuration, "lab", "unix:///nowhere/lab.sock")
    (configuration / "config.json").write_text('{"currentContext": "lab"}')
    assert urls() == ["unix:///nowhere/lab.sock"]
    with pytest.raises(PrerequisiteError, match=r"lab\.sock \(from docker context lab\)"):
        connect()


def test_the_variable_wins_over_the_configuration_and_the_host_over_both(configuration, monkeypatch):
    for name in ("lab", "other"):
        make_context(configuration, name, f"unix:///nowhere/{name}.sock")
    (configuration / "config.json").write_text('{"currentContext": "lab"}')
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    assert urls() == ["unix:///nowhere/other.sock"]
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert urls() != ["unix:///nowhere/lab.sock"]
    monkeypatch.setenv("DOCKER_HOST", "unix:///host.sock")
    assert urls() == ["unix:///host.sock"]


def test_a_context_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    with pytest.raises(PrerequisiteError, match="no docker context 'gone'"):
        addresses()


@pytest.mark.parametrize("content", ["", "[]", "{", "\ufeff{}"])
def test_a_broken_configuration_asks_the_usual_sockets_as_the_docker_program_does(configuration, content):
    (configuration / "config.json").write_text(content)
    assert urls()
