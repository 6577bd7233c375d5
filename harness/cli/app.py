"""Put the commands together, and turn every failure into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer

from evaluator.errors import EvaluatorError
from evaluator.terminal import in_words, leave_quietly, speak_utf8
from harness import __version__
from harness.cli.display import say
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, HarnessError

COMMANDS = (
    "doctor",
    "data",
    "build",
    "check",
    "evaluate",
    "score",
    "explain",
    "leaderboard",
    "pack",
    "verify",
    "export",
)

# Typer brings its own copy of click or uses the installed one, by version; this base is either's.
_WRONG_USAGE: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


def build_app() -> typer.Typer:
    """Return the application with every command registered."""
    app = typer.Typer(
        help="Run segmentation submissions in containers, measure, score and rank them.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback(invoke_without_command=True)
    def root(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
        if version:
            print(f"harness {__version__}")
            raise typer.Exit

    for name in COMMANDS:
        import_module(f"harness.cli.{name}").register(app)
    return app


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code (see `harness.errors`)."""
    speak_utf8()
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; every expected failure is one line on stderr."""
    try:
        result = typer.main.get_command(build_app()).main(
            args=list(argv), prog_name="harness", standalone_mode=False
        )
    except HarnessError as error:
        say(f"harness: {error.one_line()}")
        return error.exit_code
    except EvaluatorError as error:
        say(f"harness: {error}")
        return EXIT_USAGE
    except _WRONG_USAGE as error:
        error.show()
        return EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except BrokenPipeError:
        leave_quietly()
        return EXIT_OK
    except OSError as error:
        what, where, mend = in_words(error)
        say(f"harness: {HarnessError(what, where=where, mend=mend).one_line()}")
        return EXIT_INFRASTRUCTURE
    if result == EXIT_INTERRUPTED:
        # Typer turns ^C into this code without a word.
        return _interrupted()
    return result if isinstance(result, int) else 0


def _interrupted() -> int:
    say("harness: interrupted; the same command takes up where it stopped")
    return EXIT_INTERRUPTED
