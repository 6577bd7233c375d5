"""What installing and importing the package means."""

from __future__ import annotations

import json
import os
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

import evaluator
from evaluator import LABEL_TABLES, Label, LabelTable, RequestError, label_table, profile_named
from evaluator.compilation import drop_stale, kernel, writable_cache


def in_a_new_interpreter(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout.strip()


def test_every_exported_name_is_there() -> None:
    assert all(getattr(evaluator, name) is not None for name in evaluator.__all__)
    assert set(evaluator.__all__) <= set(dir(evaluator))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = evaluator.nothing


def test_the_exports_are_sorted_and_each_is_loaded_where_it_lives() -> None:
    assert len(set(evaluator.__all__)) == len(evaluator.__all__)
    assert list(evaluator._LAZY) == sorted(evaluator._LAZY)
    assert set(evaluator._LAZY) <= set(evaluator.__all__)


def test_a_modules_name_says_nothing_of_who_may_import_it() -> None:
    names = {module.name for module in pkgutil.walk_packages(evaluator.__path__)}
    assert {name for name in names if name.startswith("_")} == {"_version", "__main__"}


@pytest.mark.parametrize(
    "names", ["Label", "LABEL_TABLES, METRICS, label_table, metric_named, profile_named"]
)
def test_importing_the_package_and_its_tables_loads_nothing_heavy(names: str) -> None:
    code = f"import json, sys\nfrom evaluator import {names}\nprint(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(in_a_new_interpreter(code))
    heavy = {"numpy", "numba", "scipy", "nibabel", "SimpleITK", "imagecodecs", "torch", "harness"}
    assert not heavy & set(loaded)


def test_scoring_needs_neither_torch_nor_the_harness_nor_the_slow_readers(tmp_path: Path) -> None:
    loaded = in_a_new_interpreter(
        "import sys, evaluator.__main__, evaluator.folder; print(*sorted(sys.modules), sep='\\n')"
    ).splitlines()
    assert not {"torch", "harness", "SimpleITK", "nibabel", "surface_distance"} & set(loaded)


def test_kernels_are_cached_elsewhere_where_the_package_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert writable_cache(tmp_path) == ""
    monkeypatch.setattr(os, "access", lambda *_: False)
    private = Path(writable_cache(tmp_path / "package"))
    assert private.parent == tmp_path and private.stat().st_mode & 0o777 == 0o700
    private.chmod(0o777)
    assert writable_cache(tmp_path / "package") == ""
    compiled = tmp_path / "installed" / "__pycache__" / "kernel.nbi"
    compiled.parent.mkdir(parents=True)
    compiled.touch()
    assert writable_cache(tmp_path / "installed") == ""


def test_a_changed_source_drops_the_kernels_that_it_may_be_compiled_into(tmp_path: Path) -> None:
    (tmp_path / "sweep.py").write_text("LIMIT = 1\n")
    kept = tmp_path / "__pycache__" / "nearest.far-1.py311.nbi"
    kept.parent.mkdir()
    kept.touch()
    drop_stale(tmp_path)
    assert not kept.exists()  # nothing says what it was compiled from
    kept.touch()
    drop_stale(tmp_path)
    assert kept.exists()
    (tmp_path / "sweep.py").write_text("LIMIT = 2\n")
    drop_stale(tmp_path)
    assert not kept.exists()


def test_kernels_run_uncached_where_nothing_can_be_written() -> None:
    function: dict[str, Callable[[int], int]] = {}
    exec("def double(number): return 2 * number", function)  # has no file to be cached beside
    assert kernel(function["double"])(21) == 42


def test_the_label_tables_are_the_challenges() -> None:
    assert list(LABEL_TABLES)[:6] == [
        "flare21",
        "flare22",
        "flare23",
        "flare24-task1",
        "flare24-task2",
        "phantom",
    ]
    assert {name: len(table) for name, table in list(LABEL_TABLES.items())[:6]} == {
        "flare21": 4,
        "flare22": 13,
        "flare23": 14,
        "flare24-task1": 1,
        "flare24-task2": 13,
        "phantom": 14,
    }
    assert [label.tolerance_mm for label in label_table("flare22")] == [5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3]
    assert label_table("phantom")[14] == Label(14, "tumour", 2, "tumour", column="Lesion")


def test_nonsense_is_refused() -> None:
    for request in (
        lambda: label_table("flare99"),
        lambda: profile_named("loose", "flare22"),
        lambda: label_table("flare22")[14],
        lambda: Label(0, "background", 1.0),
        lambda: Label(256, "too high", 1.0),
        lambda: Label(1, "negative", -1.0),
        lambda: Label(1, "not a number", float("nan")),
        lambda: LabelTable("twice", (Label(1, "a", 1.0), Label(1, "b", 1.0))),
    ):
        with pytest.raises(RequestError):
            request()


_WITHOUT_ENGINES = """
import runpy, sys

class Refused:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in {"docker", "requests", "pydantic", "typer", "rich", "jinja2", "pynvml"}:
            raise ImportError(name + " is not installed here")

sys.meta_path.insert(0, Refused())
sys.path.insert(0, sys.argv.pop(1))
import evaluator
assert evaluator.__file__.startswith(sys.path[0]), evaluator.__file__
assert "docker" not in sys.modules and "harness" not in sys.modules
sys.argv[0] = "evaluator"
runpy.run_module("evaluator", run_name="__main__")
"""


def test_the_wheel_scores_where_nothing_that_runs_containers_is_installed(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    source = tmp_path / "source"
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in ("evaluator", "harness"):
        shutil.copytree(root / name, source / name, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source / name)
    # With the environment's own setuptools, so that no index is asked.
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(tmp_path)]
    build = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    volume = np.zeros((12, 12, 12), np.uint8)
    volume[3:9, 3:9, 3:9] = 1
    for side in ("labels", "predictions"):
        (tmp_path / side).mkdir()
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / side / "a.nii.gz")
    (tmp_path / "labels.json").write_text('{"labels": {"cube": 1}}', encoding="utf-8")
    arguments = [str(tmp_path / side) for side in ("installed", "labels", "predictions")]
    command = [sys.executable, "-I", "-c", _WITHOUT_ENGINES, *arguments]
    done = subprocess.run(
        [*command, "--labels", str(tmp_path / "labels.json"), "--format", "long"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["a,1,cube,dsc,1.0", "a,1,cube,nsd,1.0"]
