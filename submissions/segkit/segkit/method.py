"""How a method is to run: settings.json in its folder, and what the command line changes of it.

    {
      "tasks": {"organs": {"weights": "weights/organs_tumour", "leave_out": ["tumour"], "settings": {}}},
      "modes": {"fast": {"engine": "fastest", "step": 0.8}, "exact": {"engine": "f32"}}
    }

A task names a model folder and the labels that are never predicted, a mode how the model is run; the first of
each is the default, the variables TASK and MODE name another, and the command line comes last. What a task
says of a setting holds in every mode.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from segkit.cases import Method, add_folder_options, segment_folder
from segkit.errors import PlanError, SegkitError
from segkit.profile import Profile
from segkit.program import run_program

SETTINGS_NAME = "settings.json"
ENGINE = "engine"

Kind = TypeVar("Kind")
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Attributes:
        weights: The model folder, from the method's folder on.
        leave_out: Names of labels that are never predicted; their voxels go to the runner-up.
        settings: Settings that hold in every mode.
    """

    weights: str
    leave_out: tuple[str, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Choice(Generic[Kind]):
    """What one call is to do.

    Attributes:
        weights: The model folder.
        leave_out: Names of labels that are never predicted.
        engine: A name that `segkit.engine.open_engine` knows, or one of the method's own.
        settings: Everything else.
    """

    weights: Path
    leave_out: tuple[str, ...]
    engine: str
    settings: Kind

    def left_out_of(self, labels: Sequence[str]) -> list[int]:
        """The values that are never predicted.

        Args:
            labels: Name of each output of the model.

        Raises:
            PlanError: The model has no such label.
        """
        if missing := [name for name in self.leave_out if name not in labels]:
            raise PlanError(f"{self.weights} has no label {missing[0]}, which the task leaves out.")
        return [labels.index(name) for name in self.leave_out]


def predict_main(
    folder: Path,
    load: Callable[[Choice[Kind], Profile], Method],
    kind: type[Kind],
    *,
    about: str,
) -> int:
    """The whole of a predict.py: read the command line, segment every CT of the inputs folder.

    Args:
        folder: The method's folder; holds settings.json.
        load: Makes the method ready.
        kind: A frozen dataclass of the method's settings, each with a default; `segkit.Settings`, or the
            method's own.
        about: The text of --help.

    Returns:
        The exit code: 0, 1 if a case failed, 2 if nothing could be done.
    """

    def work() -> int:
        options = _parser(folder, kind, about).parse_args()
        choice = _choice(folder, kind, options)
        return segment_folder(
            options.inputs, options.outputs, partial(load, choice), show_profile=options.profile
        )

    return run_program(work)


def read_settings(folder: Path) -> tuple[dict[str, Task], dict[str, dict[str, Any]]]:
    """The tasks and the modes of a method, by name.

    Raises:
        SegkitError: The file is missing or no such file.
    """
    path = folder / SETTINGS_NAME
    try:
        content = json.loads(path.read_text())
        tasks = {
            name: Task(**{**told, "leave_out": tuple(told.get("leave_out", ()))})
            for name, told in content["tasks"].items()
        }
        return tasks, {name: dict(told) for name, told in content["modes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SegkitError(
            f"{path} is no file of tasks and modes ({error!r}); see docs/submissions.md."
        ) from error


def settings_of(
    task: Task, mode: Mapping[str, Any], kind: type[Kind], changes: Mapping[str, Any]
) -> tuple[str, Kind]:
    """The engine and the settings of a task in a mode.

    Args:
        task: The task.
        mode: The mode's settings.
        kind: The dataclass of settings.
        changes: What the command line says.

    Raises:
        SegkitError: A name or a value is none of the settings'.
    """
    chosen = {ENGINE: "fastest", **mode, **task.settings, **changes}
    engine = str(chosen.pop(ENGINE))
    known = _defaults(kind)
    if unknown := sorted(chosen.keys() - known.keys()):
        raise SegkitError(f"{unknown[0]} is no setting; settings are {', '.join([ENGINE, *known])}.")
    return engine, kind(**{name: _fitting(name, value, known[name]) for name, value in chosen.items()})


def _choice(folder: Path, kind: type[Kind], options: argparse.Namespace) -> Choice[Kind]:
    tasks, modes = read_settings(folder)
    task, mode = _known("TASK", options.task, tasks), _known("MODE", options.mode, modes)
    engine, settings = settings_of(task, mode, kind, dict(options.set))
    return Choice(options.weights or folder / task.weights, task.leave_out, engine, settings)


def _known(variable: str, name: str, known: Mapping[str, Entry]) -> Entry:
    if name not in known:
        raise SegkitError(f"{variable} is {name!r}; it must be one of {', '.join(sorted(known))}.")
    return known[name]


def _parser(folder: Path, kind: type[Any], about: str) -> argparse.ArgumentParser:
    tasks, modes = read_settings(folder)
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folder_options(parser)
    for option, known in (("task", list(tasks)), ("mode", list(modes))):
        parser.add_argument(
            f"--{option}",
            default=os.environ.get(option.upper(), known[0]),
            help=f"one of {', '.join(known)} (default: the variable {option.upper()}, or {known[0]})",
        )
    parser.add_argument("--weights", type=Path, help="another model folder with the labels of the task")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help=f"change one setting: {', '.join([ENGINE, *_defaults(kind)])}",
    )
    return parser


def _setting(text: str) -> tuple[str, Any]:
    """One NAME=VALUE of the command line; a value that is no JSON is a word."""
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _defaults(kind: type[Any]) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(kind)}


def _fitting(name: str, value: Any, default: Any) -> Any:
    """A value in the type of the setting's default; JSON has no tuples and no difference of 1 and 1.0."""
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if type(default) is float and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise SegkitError(f"the setting {name} is {value!r}; its default is {default!r}.")
    return value


def main() -> int:
    """Copy what one task needs, for an image's build: python -m segkit.method TASK FOLDER."""
    parser = argparse.ArgumentParser(description="copy the weights that a task needs")
    parser.add_argument("task")
    parser.add_argument("folder", type=Path, help="gets them under the path that settings.json gives")
    options = parser.parse_args()

    def work() -> None:
        tasks, _ = read_settings(Path.cwd())
        weights = _known("TASK", options.task, tasks).weights
        shutil.copytree(weights, options.folder / weights)

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
