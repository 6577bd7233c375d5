"""settings.json and the command line: what a method is asked to do."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from segkit.errors import PlanError, SegkitError
from segkit.method import Choice, Task, predict_main, read_settings, settings_of
from segkit.predict import Settings

SUBMISSIONS = Path(__file__).resolve().parents[3] / "submissions"
METHODS = sorted(path.parent.name for path in SUBMISSIONS.glob("*/settings.json"))
CONTENT = {
    "tasks": {
        "organs": {"weights": "weights/a", "leave_out": ["tumour"]},
        "tumour": {"weights": "weights/b", "settings": {"mirror_axes": [2]}},
    },
    "modes": {"fast": {"step": 0.8}, "exact": {"engine": "f32", "step": 1}},
}


@dataclass(frozen=True)
class OneSetting:
    """A method's own settings."""

    largest_parts: bool = True


@pytest.fixture
def method(tmp_path):
    """A folder with two tasks and two modes."""
    (tmp_path / "settings.json").write_text(json.dumps(CONTENT))
    return tmp_path


@pytest.fixture
def chosen(method, monkeypatch):
    """A function that gives what a command line chooses, and the exit code."""

    def choose(*arguments, kind=Settings, **environment):
        made = []

        def load(choice, _profile):
            made.append(choice)
            raise SegkitError("enough")

        for name in ("TASK", "MODE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        (method / "inputs").mkdir(exist_ok=True)
        (method / "inputs/a_0000.nii.gz").write_bytes(b"")
        folders = ["--inputs", method / "inputs", "--outputs", method / "outputs"]
        monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, [*folders, *arguments])])
        code = predict_main(method, load, kind, about="A method.")
        return (made[0] if made else None), code

    return choose


def test_the_first_task_and_mode_are_the_default(chosen, method):
    choice, _ = chosen()
    assert choice == Choice(method / "weights/a", ("tumour",), "fastest", Settings(step=0.8))


def test_variables_name_another_and_the_command_line_comes_last(chosen, method):
    choice, _ = chosen(TASK="tumour", MODE="exact")
    assert choice == Choice(method / "weights/b", (), "f32", Settings(step=1.0, mirror_axes=(2,)))
    choice, _ = chosen("--mode", "fast", "--set", "mirror_axes=[0, 1]", TASK="tumour", MODE="exact")
    assert choice.settings == Settings(step=0.8, mirror_axes=(0, 1))


def test_words_numbers_and_engines_are_set_by_name(chosen):
    choice, _ = chosen("--set", "engine=bf16", "--set", "windows=centre_first", "--set", "step=1")
    assert (choice.engine, choice.settings) == ("bf16", Settings(windows="centre_first", step=1.0))


def test_another_model_folder_takes_the_task_s_labels(chosen, tmp_path):
    choice, _ = chosen("--weights", tmp_path / "mine")
    assert choice.weights == tmp_path / "mine"
    assert choice.left_out_of(("background", "liver", "tumour")) == [2]
    with pytest.raises(PlanError, match="has no label tumour"):
        choice.left_out_of(("background", "liver"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "brain"], "TASK is 'brain'; it must be one of organs, tumour"),
        (["--mode", "slow"], "MODE is 'slow'; it must be one of exact, fast"),
        (["--set", "stop=1"], "stop is no setting; settings are engine, step,"),
        (["--set", "step=wide"], "the setting step is 'wide'; its default is 0.5"),
        (["--set", "crop_to_body=1"], "the setting crop_to_body is 1; its default is True"),
        (["--set", "windows=some"], "windows is 'some'; it must be all or centre_first"),
    ],
)
def test_what_is_no_choice_is_said_in_one_line(chosen, capsys, arguments, said):
    choice, code = chosen(*arguments)
    assert (choice, code) == (None, 2)
    assert said in capsys.readouterr().err


def test_a_method_may_have_settings_of_its_own():
    engine, settings = settings_of(Task("w"), {"engine": "f32"}, OneSetting, {"largest_parts": False})
    assert (engine, settings) == ("f32", OneSetting(largest_parts=False))
    with pytest.raises(SegkitError, match="step is no setting; settings are engine, largest_parts"):
        settings_of(Task("w"), {"step": 0.5}, OneSetting, {})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tasks": {"a": {"wights": "w"}}, "modes": {}}'])
def test_what_is_no_settings_file_is_named(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(SegkitError, match=r"settings\.json is no file of tasks and modes"):
        read_settings(tmp_path)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_fast_by_default_and_can_be_exact(name):
    tasks, modes = read_settings(SUBMISSIONS / name)
    assert list(modes)[:2] == ["fast", "exact"]
    assert modes["fast"]["engine"] == "fastest"
    assert modes["exact"]["engine"] == "f32"
    needs = tomllib.loads((SUBMISSIONS / name / "submission.toml").read_text()).get("needs", [])
    for task in tasks.values():
        # What is trained before the first build may not be there yet.
        described = SUBMISSIONS / name / task.weights / "plans.json"
        assert described.is_file() or any(need.startswith(task.weights) for need in needs)


def test_an_image_takes_the_weights_of_its_task_alone(method):
    for name in ("a", "b"):
        (method / "weights" / name).mkdir(parents=True)
        (method / "weights" / name / "plans.json").write_text("{}")
    command = [sys.executable, "-m", "segkit.method", "tumour", str(method / "picked")]
    environment = {"PYTHONPATH": str(SUBMISSIONS / "segkit"), "PATH": ""}
    subprocess.run(command, cwd=method, env=environment, check=True)
    assert [path.relative_to(method) for path in (method / "picked").rglob("*.json")] == [
        Path("picked/weights/b/plans.json")
    ]
    done = subprocess.run(
        [*command[:3], "brain", command[4]], cwd=method, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "error: TASK is 'brain'; it must be one of organs, tumour.\n"
