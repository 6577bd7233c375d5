"""`harness doctor`: what works on this host, and how to mend what does not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import typer
from rich.text import Text

from harness.cli import options
from harness.cli.display import stdout
from harness.engine.registry import open_engine
from harness.errors import EXIT_OK, EXIT_PREREQUISITE_MISSING
from harness.run.doctor import Check, checks, packages
from harness.text import printable

_VERDICTS = {True: ("ok", "green"), False: ("FAILED", "bold red"), None: ("n/a", "dim")}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("doctor")(command)


def command(runtime: options.Runtime = "", as_json: options.AsJson = False) -> int:
    """Prove each limit on this host with a tiny container. The exit code is 3 if one does not hold.

    Example: `harness doctor`.
    """
    console = stdout()
    failed = 0
    told = []
    for check in _all_checks(runtime):
        told.append({"check": check.name, "holds": check.passed, "detail": check.detail, "mend": check.mend})
        if as_json:
            failed += check.passed is False
            continue
        word, style = _VERDICTS[check.passed]
        console.print(Text(f"{word:>6}", style=style), Text(printable(f"{check.name}: {check.detail}")))
        failed += check.passed is False
        if check.mend and not check.passed:
            console.print(Text(printable(f"       {check.mend}")))
    if as_json:
        print(json.dumps(told, indent=1, ensure_ascii=False))
    return EXIT_PREREQUISITE_MISSING if failed else EXIT_OK


def _all_checks(runtime: str) -> Iterator[Check]:
    yield packages()
    yield from checks(open_engine(), runtime=runtime)
