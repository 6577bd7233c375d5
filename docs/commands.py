"""Write docs/commands.md from the command line's own help: `make docs` runs this."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.cli.app import COMMANDS, load_command
from harness.cli.outline import write

_HEAD = """# Command line

In the order in which one uses the commands; `harness COMMAND --help` says the same, with an example.
With every command `-q` leaves out progress and messages, and `-v` says where a failure arose.
`make docs` makes this page.
"""


def main() -> None:
    """Write the page, and the outline that a completing shell reads."""
    write({name: load_command(name) for name in COMMANDS})
    parts = [_HEAD]
    for name in COMMANDS:
        command = load_command(name)
        parts.append(section(name, command))
        parts += [section(f"{name} {inner}", one) for inner, one in getattr(command, "commands", {}).items()]
    Path(__file__).with_name("commands.md").write_text("\n".join(parts), encoding="utf-8")


def section(name: str, command: Any) -> str:
    """Return a command's heading, first sentence and options."""
    lines = [f"## harness {name}", "", " ".join(command.help.split("\n\n")[0].split()), ""]
    rows = [
        f"| {_named(one)} | {_in_a_cell(one.help or '')} |" for one in command.params if one.name != "help"
    ]
    return "\n".join([*lines, *(["| argument or option | |", "|---|---|", *rows, ""] if rows else [])])


def _named(parameter: Any) -> str:
    if parameter.param_type_name == "option":
        return ", ".join(f"`{word}`" for word in parameter.opts)
    return f"`{parameter.name.upper()}`"


def _in_a_cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
