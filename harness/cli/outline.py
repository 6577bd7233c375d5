"""The commands' options as data, for a shell that completes a word: no command's own imports are waited for.

`docs/commands.py` writes `outline.json` anew; a test holds it to the commands.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli import completion

FILE = Path(__file__).with_name("outline.json")


def outline_of(command: Any) -> dict[str, Any]:
    """Return what a shell may ask of a command: options, what they take, and the commands below it."""
    completers = _completers(command.callback)
    outline: dict[str, Any] = {"options": [_option(one, completers) for one in command.params]}
    if inner := getattr(command, "commands", {}):
        outline["commands"] = {name: outline_of(one) for name, one in inner.items()}
    return outline


def command_of(name: str, outline: Mapping[str, Any]) -> Any:
    """Return a command with these options, which does nothing but be asked."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    if "commands" not in outline:
        app.callback()(lambda: None)  # makes it a group, from which the command is taken
        app.command(name)(_stand_in(outline))
        return typer.main.get_group(app).commands[name]
    app.callback(invoke_without_command=True)(_stand_in(outline))
    group = typer.main.get_group(app)
    group.name = name
    for inner, one in outline["commands"].items():
        group.add_command(command_of(inner, one), inner)
    return group


def read_outline(name: str) -> dict[str, Any]:
    """Return what is stored of a command."""
    stored: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return stored[name]


def _option(parameter: Any, completers: Mapping[str, str]) -> dict[str, Any]:
    is_option = parameter.param_type_name == "option"
    told = {
        "name": parameter.name,
        "words": [*parameter.opts, *parameter.secondary_opts] if is_option else [],
        "takes": "nothing"
        if getattr(parameter, "is_flag", False)
        else "many"
        if parameter.multiple
        else "one",
        "help": " ".join((parameter.help or "").split()),
        "completer": completers.get(parameter.name, ""),
    }
    return {key: value for key, value in told.items() if value}


def _completers(callback: Callable[..., Any] | None) -> dict[str, str]:
    """Return which function of `harness.cli.completion` completes which parameter, by their names."""
    found = {}
    hints = typing.get_type_hints(inspect.unwrap(callback), include_extras=True) if callback else {}
    for name, hint in hints.items():
        for mark in getattr(hint, "__metadata__", ()):
            if completer := getattr(mark, "autocompletion", None):
                found[name] = completer.__name__
    return found


def _stand_in(outline: Mapping[str, Any]) -> Callable[..., None]:
    """Return a function whose parameters are the options."""
    parameters = [_parameter(one) for one in outline["options"] if one["name"] != "help"]

    def stand_in(**_: Any) -> None:
        """Only its parameters are looked at."""

    stand_in.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    stand_in.__annotations__ = {one.name: one.annotation for one in parameters}
    return stand_in


def _parameter(option: Mapping[str, Any]) -> inspect.Parameter:
    kinds: dict[str, tuple[Any, Any]] = {"nothing": (bool, False), "many": (list[str] | None, None)}
    kind, default = kinds.get(option["takes"], (str | None, None))
    name = option.get("completer")
    told = {"help": option.get("help", ""), "autocompletion": getattr(completion, name) if name else None}
    words = option.get("words", [])
    mark = typer.Option(*words, **told) if words else typer.Argument(**told)
    return inspect.Parameter(
        option["name"], inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, mark]
    )


def write(commands: Mapping[str, Any]) -> None:
    """Write the outline of the commands, by name."""
    outlines = {name: outline_of(command) for name, command in commands.items()}
    FILE.write_text(json.dumps(outlines, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
