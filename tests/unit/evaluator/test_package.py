"""What installing and importing the package means."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import evaluator
from evaluator import LABEL_TABLES, Label, LabelTable, RequestError, label_table, profile_named


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


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = json.loads(
        in_a_new_interpreter("import json, sys, evaluator; print(json.dumps(sorted(sys.modules)))")
    )
    heavy = {"numpy", "numba", "scipy", "nibabel", "SimpleITK", "imagecodecs", "torch", "harness"}
    assert not heavy & set(loaded)


def test_scoring_needs_neither_torch_nor_the_harness_nor_the_slow_readers(tmp_path: Path) -> None:
    loaded = in_a_new_interpreter(
        "import sys, evaluator.__main__, evaluator.folder; print(*sorted(sys.modules), sep='\\n')"
    ).splitlines()
    assert not {"torch", "harness", "SimpleITK", "nibabel", "surface_distance"} & set(loaded)


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="needs setpriv to drop root")
def test_kernels_are_cached_elsewhere_where_the_package_cannot_be_written(tmp_path: Path) -> None:
    package = tmp_path / "site" / "evaluator"
    shutil.copytree(Path(evaluator.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder, *_ in os.walk(tmp_path):
        Path(folder).chmod(0o555)
    # Temporary folders of tests are closed to other users.
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(folder.stat().st_mode | 0o555)
    cache = Path("/tmp") / f"evaluator-test-{os.getpid()}"
    cache.mkdir(mode=0o777)
    cache.chmod(0o777)
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    code = "import evaluator._compile, os; print(os.environ['NUMBA_CACHE_DIR'])"
    try:
        done = subprocess.run(
            [*drop, sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd="/",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(package.parent),
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": "/nonexistent",
                "TMPDIR": str(cache),
            },
        )
    finally:
        shutil.rmtree(cache)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == cache


def test_the_label_tables_are_the_challenges() -> None:
    assert list(LABEL_TABLES) == [
        "flare21",
        "flare22",
        "flare23",
        "flare24-task1",
        "flare24-task2",
        "phantom",
    ]
    assert {name: len(table) for name, table in LABEL_TABLES.items()} == {
        "flare21": 4,
        "flare22": 13,
        "flare23": 14,
        "flare24-task1": 1,
        "flare24-task2": 13,
        "phantom": 14,
    }
    assert [label.tolerance_mm for label in label_table("flare22")] == [5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3]
    assert label_table("phantom")[14] == Label(14, "tumor", 2, "Lesion")


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
