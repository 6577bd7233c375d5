"""The examples of docs/examples run as they stand, as scripts and as notebooks."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "docs" / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem not in ("notebooks", "example_data"))

pytestmark = pytest.mark.slow

SAID = {
    "score_and_plot": "liver",
    "compare_two_methods": "method_a is better by",
    "results_into_pandas": "method_b",
    "custom_metric": "phantom",
    "custom_challenge": "kidneys_codabench.zip",
}


@pytest.fixture(scope="module")
def notebooks():
    spec = importlib.util.spec_from_file_location("notebooks", EXAMPLES / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def python(program: Path, folder: Path) -> str:
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [sys.executable, str(program)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the examples' data lie."""
    place = tmp_path_factory.mktemp("examples")
    python(EXAMPLES / "example_data.py", place)
    return place


def test_every_example_is_expected_to_say_something():
    assert SAID.keys() == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_as_a_script(name, folder):
    assert SAID[name] in python(EXAMPLES / f"{name}.py", folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebooks_cells_run_one_after_the_other(name, folder, tmp_path):
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 1
    program = tmp_path / "cells.py"
    program.write_text("\n\n".join(cells), encoding="utf-8")
    assert SAID[name] in python(program, folder)


def test_notebooks_hold_what_the_scripts_do(notebooks):
    for example in notebooks.examples():
        written = example.with_suffix(".ipynb").read_text(encoding="utf-8")
        assert written == notebooks.notebook_of(example), "run docs/examples/notebooks.py"


def test_scoring_and_plotting_takes_ten_lines():
    text = (EXAMPLES / "score_and_plot.py").read_text(encoding="utf-8")
    first_cell = text.split("# %%")[1]
    assert len([line for line in first_cell.splitlines() if line.strip()]) <= 10


def test_the_plot_is_a_picture(folder):
    python(EXAMPLES / "score_and_plot.py", folder)
    assert (folder / "example" / "dice.png").read_bytes().startswith(b"\x89PNG")
