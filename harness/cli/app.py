"""Put the commands together, and turn every failure into one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer

from evaluator.errors import EvaluatorError
from evaluator.terminal import in_words, leave_quietly, speak_utf8
from harness import __version__
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, HarnessError

COMMANDS = {
    "doctor": "Prove each limit on this host with a tiny container.",
    "data": "Make the embedded data set, or check your own.",
    "challenge": "Write the file of a challenge of your own.",
    "new": "Write a new submission: template, script, nnU-Net, MONAI.",
    "build": "Build a submission's image, and whatever lies under it.",
    "check": "Lint the image, run a case as judged, and say what to change.",
    "pack": "Build the image and write TEAM.tar.gz, as `docker save` does.",
    "evaluate": "Run a submission on every case, measure, score and store it.",
    "worker": "Take the cases that evaluations offer, and run them here.",
    "score": "Score what was predicted, in stored runs or made elsewhere.",
    "leaderboard": "Rank the teams from the results on disk; write the report.",
    "explain": "Score a case under several rules, and say why they differ.",
    "verify": "Re-read every record, file and seal; with --data score again.",
    "export": "Write the results for FLARE, challengeR, or as long tables.",
    "import": "Store the numbers of others' tables as a row that says so.",
    "platform": "Put a challenge on grand-challenge.org or Codabench.",
}
"""Each command is the module of its name beside this one; the text is the first sentence of its help."""

_MODULES = {"import": "import_results"}  # no module can have a keyword's name

# Typer brings its own copy of click or uses the installed one, by version; this base is either's.
_WRONG_USAGE: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


class _Unloaded(typer.core.TyperCommand):
    """Stands for a command in lists and completions; its module is imported when it is called.

    So `harness --help` does not wait for libraries that it has no use for.
    """

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Return the context of the command itself, loaded now; a completing shell is given its outline."""
        if extra.get("resilient_parsing"):
            from harness.cli.outline import command_of, read_outline

            outlined = command_of(str(self.name), read_outline(str(self.name)))
            return outlined.make_context(info_name, args, parent=parent, **extra)
        return load_command(str(self.name)).make_context(info_name, args, parent=parent, **extra)


def load_command(name: str) -> Any:
    """Import a command's module and return the click command that it registers."""
    app = _typer()
    app.callback()(lambda: None)  # makes it a group, however many commands there are
    import_module(f"harness.cli.{_MODULES.get(name, name)}").register(app)
    return typer.main.get_group(app).commands[name]


def build_app() -> Any:
    """Return the application as a click group, with every command listed and none loaded."""
    app = _typer(
        help="Run segmentation submissions in containers, measure, score and rank them.\n\n"
        "With every command, -q leaves out progress and messages, and -v says where a failure arose.",
        add_completion=True,
    )

    @app.callback(invoke_without_command=True)
    def root(
        version: bool = typer.Option(False, "--version", help="Print the version and leave."),
        verbose: bool = typer.Option(
            False, "--verbose", help="With --version: what this installation is made of."
        ),
    ) -> None:
        if verbose and not version:
            raise typer.BadParameter("--verbose goes with --version")
        if version:
            print(f"harness {__version__}")
            if verbose:
                from harness.results.versions import provenance

                for name, value in provenance().items():
                    print(f"{name}\t{value}")
            raise typer.Exit

    group: Any = typer.main.get_command(app)
    for name, summary in COMMANDS.items():
        group.add_command(_Unloaded(name=name, callback=None, help=summary))
    return group


def _typer(*, add_completion: bool = False, **options: Any) -> typer.Typer:
    return typer.Typer(
        no_args_is_help=True,
        add_completion=add_completion,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        **options,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code (see `harness.errors`)."""
    speak_utf8()
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; every expected failure is one line on stderr."""
    words, verbose = _levels(list(argv))
    try:
        result = build_app().main(args=words, prog_name="harness", standalone_mode=False)
    except HarnessError as error:
        _trace(verbose=verbose)
        _say(f"harness: {error.one_line()}")
        return error.exit_code
    except EvaluatorError as error:
        _trace(verbose=verbose)
        _say(f"harness: {error}")
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
        _trace(verbose=verbose)
        what, where, mend = in_words(error)
        _say(f"harness: {HarnessError(what, where=where, mend=mend).one_line()}")
        return EXIT_INFRASTRUCTURE
    if result == EXIT_INTERRUPTED:
        # Typer turns ^C into this code without a word.
        return _interrupted()
    return result if isinstance(result, int) else 0


def _levels(argv: list[str]) -> tuple[list[str], bool]:
    """Take -q and -v out of a command line, wherever they stand; return the rest, and whether to say more."""
    end = argv.index("--") if "--" in argv else len(argv)
    ours, rest = argv[:end], argv[end:]
    levels = {"-q", "--quiet", "-v"} | (set() if "--version" in ours else {"--verbose"})
    given = {word for word in ours if word in levels}
    if given & {"-q", "--quiet"}:
        from harness.cli.display import mute

        mute(muted=True)
    return [word for word in ours if word not in levels] + rest, bool(given & {"-v", "--verbose"})


def _say(text: str) -> None:
    from harness.cli.display import say  # loads rich, which no success of --help or --version needs

    say(text, always=True)


def _trace(*, verbose: bool) -> None:
    if verbose:
        traceback.print_exc()


def _interrupted() -> int:
    _say("harness: interrupted; the same command takes up where it stopped")
    return EXIT_INTERRUPTED
