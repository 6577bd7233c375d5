"""Our own images are described completely, and every wheel in them is pinned."""

import re
import tomllib

import pytest

from harness.engine.cache import cache_folder
from harness.errors import ConfigurationError
from harness.submission.base import sources
from harness.submission.dockerfile import parents
from harness.submission.load import team_of
from harness.submission.recipes import RECIPES, checkout


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_a_recipe_names_what_exists(recipe):
    root = checkout()
    dockerfile = root / "docker" / recipe.folder / "Dockerfile"
    assert parents(dockerfile.read_text(), {"PARENT": "parent:1"}) == ("parent:1",)
    for path in recipe.files.values():
        assert (root / path).exists(), path
    if recipe.wheels is not None and recipe.wheels.requirements:
        assert (root / recipe.wheels.requirements).is_file()


def test_parents_come_before_children():
    seen = set()
    for reference, recipe in RECIPES.items():
        assert recipe.parent is None or recipe.parent in seen
        seen.add(reference)


def test_docker_is_no_package_because_it_would_shadow_the_sdk():
    assert not list((checkout() / "docker").rglob("__init__.py"))


def pinned(name):
    lines = (checkout() / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def plain(requirement):
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-train.txt", "constraints-runtime.txt"])
def test_constraints_are_exact_sorted_and_without_local_versions(name):
    pins = pinned(name)
    assert len(pins) > 10
    assert all("+" not in version for version in pins.values())
    assert sorted(pins) == list(pins)


def test_every_requirement_of_the_images_is_pinned():
    pins = {plain(name) for name in pinned("constraints-runtime.txt")}
    for path in [
        *(checkout() / "docker").rglob("requirements*.txt"),
        checkout() / "docker/wheelhouse-tools.txt",
    ]:
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert {plain(line) for line in lines} <= pins, path


def test_every_dependency_of_the_harness_is_pinned_and_torch_is_none():
    project = tomllib.loads((checkout() / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    pins = {plain(name) for name in pinned("constraints.txt")}
    assert {plain(line) for line in wanted} <= pins
    assert "torch" not in pins


def test_training_and_inference_use_the_same_libraries():
    train, runtime = pinned("constraints-train.txt"), pinned("constraints-runtime.txt")
    for name in ("torch", "numpy", "scipy", "simpleitk", "safetensors", "openvino"):
        assert train[name] == runtime[name], name


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, ["registry", "debootstrap"]),
        ("auto", ["registry", "debootstrap"]),
        ("registry", ["registry"]),
        ("debootstrap", ["debootstrap"]),
    ],
)
def test_base_chooses_its_source(monkeypatch, chosen, expected):
    monkeypatch.delenv("BASE", raising=False)
    if chosen is not None:
        monkeypatch.setenv("BASE", chosen)
    assert [source.kind for source in sources()] == expected


def test_an_unknown_source_is_refused(monkeypatch):
    monkeypatch.setenv("BASE", "alpine")
    with pytest.raises(ConfigurationError, match="BASE=alpine is unknown"):
        sources()


def test_the_cache_is_outside_the_checkout_and_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.delenv("FLAREHARNESS_CACHE", raising=False)
    assert checkout() not in cache_folder().parents
    monkeypatch.setenv("FLAREHARNESS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/in/BlackBean.tar.gz", "blackbean"),
        ("team.tgz", "team"),
        ("Team A+B.tar", "team_a_b"),
        ("registry/group/Team:v2", "team"),
        ("team@sha256:00", "team"),
        ("folder/", "folder"),
        ("???", "unnamed"),
    ],
)
def test_a_teams_name_is_read_from_a_file_or_tag(source, expected):
    assert team_of(source) == expected
