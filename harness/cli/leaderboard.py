"""`harness leaderboard`: the table, the report, and a team's history."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evaluator.terminal import in_words
from harness.challenge import Challenge, load_challenge
from harness.cli import completion, options
from harness.cli.display import progress, say, stdout
from harness.cli.names import known_team
from harness.data.dataset import open_dataset
from harness.errors import ConfigurationError
from harness.leaderboard import (
    DEFAULT_SEED,
    Leaderboard,
    RunValues,
    build,
    read_values,
    refuse_unsigned,
    render_terminal,
    write_files,
)
from harness.leaderboard.counting import counting
from harness.leaderboard.files import to_csv, to_json, to_latex, to_markdown
from harness.leaderboard.history import climb, describe, in_time
from harness.leaderboard.statistics import sample_counts
from harness.leaderboard.subgroups import CaseTable, check_cases, read_case_table, unknown_cases
from harness.leaderboard.uncertainty import Samples
from harness.report import write_report


class Format(StrEnum):
    """How the table is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MD = "md"
    LATEX = "latex"


class View(StrEnum):
    """Who the report is for."""

    ORGANISER = "organiser"
    PARTICIPANT = "participant"


def register(app: typer.Typer) -> None:
    """Add the command group to the application."""
    group = typer.Typer(
        help="Rank the teams from the results on disk; write the report. No engine is needed.\n\n"
        "Example: `harness leaderboard --challenge FILE`, then `harness leaderboard report --data DIR`."
    )
    group.callback(invoke_without_command=True)(table)
    group.command("report")(report)
    group.command("history")(history)
    app.add_typer(group, name="leaderboard")


def table(
    context: typer.Context,
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    results: options.Results = options.DEFAULT_RESULTS,
    output_format: Annotated[
        Format, typer.Option("--format", "-f", help="How the table is printed.")
    ] = Format.TABLE,
    organs: Annotated[bool, typer.Option("--organs", help="Add each organ's scores.")] = False,
    across_hosts: options.AcrossHosts = False,
    profile: options.Profile = None,
    cases: options.CaseTable = None,
    unsigned: options.Unsigned = False,
) -> None:
    """Print the leaderboard, and store it as leaderboard.csv, .json and .md.

    Example: `harness leaderboard --challenge FILE --format csv`.
    """
    given = Shared(
        challenge, results, across_hosts=across_hosts, profile=profile, cases=cases, unsigned=unsigned
    )
    if context.invoked_subcommand is not None:
        context.obj = {name: value for name, value in vars(given).items() if _was_given(context, name)}
        return
    board = given.board()
    rules = board.challenge
    try:
        write_files(board, results / rules.name)
    except OSError as error:  # an archive on a read-only disk is read all the same
        what, where, _ = in_words(error)
        say(f"the table is not stored: {what} ({where})")
    show(board, output_format, organs=organs)


def report(
    context: typer.Context,
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    results: options.Results = options.DEFAULT_RESULTS,
    view: Annotated[
        View, typer.Option("--view", help="participant: nothing about single cases of a hidden set.")
    ] = View.ORGANISER,
    data: Annotated[
        Path | None, typer.Option("--data", help="The data set, for pictures of the worst cases.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder; by default RESULTS/CHALLENGE/report.")
    ] = None,
    across_hosts: options.AcrossHosts = False,
    profile: options.Profile = None,
    cases: options.CaseTable = None,
    unsigned: options.Unsigned = False,
) -> None:
    """Write the report: one HTML file that opens from disk, and a page per submission.

    Example: `harness leaderboard report --data DIR --view participant`.
    """
    given = Shared(
        challenge, results, across_hosts=across_hosts, profile=profile, cases=cases, unsigned=unsigned
    ).merged(context)
    board = given.board()
    folder = output or given.results / board.challenge.name / "report"
    dataset = open_dataset(data) if data is not None else None
    print(write_report(board, folder, view=view.value, dataset=dataset))


def history(
    context: typer.Context,
    team: Annotated[
        str | None,
        typer.Argument(
            help="The team; default: every one that has several runs.", autocompletion=completion.teams
        ),
    ] = None,
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    results: options.Results = options.DEFAULT_RESULTS,
    profile: options.Profile = None,
    unsigned: options.Unsigned = False,
) -> None:
    """List the runs of a team in time, and whether each beats those before it by more than noise.

    Example: `harness leaderboard history small_unet`.
    """
    given = Shared(challenge, results, profile=profile, unsigned=unsigned).merged(context)
    rules = load_challenge(given.challenge)
    by_team: dict[tuple[str, str], list[RunValues]] = {}
    for run in read(rules, given.results, profile=given.profile, unsigned=given.unsigned):
        by_team.setdefault((run.record.team, run.record.dataset.fingerprint), []).append(run)
    if team is not None:
        known_team(team, [name for name, _ in by_team], where=given.results / rules.name)
    if team is None and all(len(runs) == 1 for runs in by_team.values()):
        say("no team has several runs over the same data; name a team to see its one")
    for (name, _), runs in sorted(by_team.items()):
        if team == name or (team is None and len(runs) > 1):
            counts = sample_counts(len(runs[0].cases), 1000, seed=DEFAULT_SEED)
            attempts = climb(in_time(runs), counting(runs, rules, rules.ranking), Samples(counts, 0.95))
            for line in describe(attempts, ladder=rules.ranking.repeated == "ladder"):
                print(line)


@dataclass(frozen=True)
class Shared:
    """Options of the table and its subcommands; those given before a subcommand hold for it too."""

    challenge: str
    results: Path
    _: KW_ONLY
    across_hosts: bool = False
    profile: str | None = None
    cases: Path | None = None
    unsigned: bool = False

    def merged(self, context: typer.Context) -> Shared:
        """Return these with what was given before the subcommand, unless it says otherwise itself."""
        before = context.obj or {}
        return replace(self, **{name: before[name] for name in before if not _was_given(context, name)})

    def board(self) -> Leaderboard:
        """Read the runs and rank the teams."""
        rules = load_challenge(self.challenge)
        known = read_case_table(self.cases) if self.cases is not None else None
        board = rank(
            rules,
            self.results,
            across_hosts=self.across_hosts,
            profile=self.profile,
            case_table=known,
            unsigned=self.unsigned,
        )
        if known is not None and self.cases is not None:
            named = [case for division in board.divisions for case in division.cases]
            for case in check_cases(known, named, where=self.cases):
                say(f"the table of cases names {case}, which no run has")
            if unknown := unknown_cases(known, named):
                more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
                say(f"the table of cases says nothing of {unknown[0]}{more}: in none of its parts")
        return board


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def rank(
    challenge: Challenge,
    results: Path,
    *,
    across_hosts: bool = False,
    profile: str | None = None,
    case_table: CaseTable | None = None,
    unsigned: bool = False,
) -> Leaderboard:
    """Read a challenge's runs and rank the teams. Raises as `read`."""
    values = read(challenge, results, profile=profile, unsigned=unsigned)
    return build(
        values, challenge=challenge, across_hosts=across_hosts, profile=profile, case_table=case_table
    )


def read(
    challenge: Challenge, results: Path, *, profile: str | None = None, unsigned: bool = False
) -> list[RunValues]:
    """Read a challenge's runs.

    Args:
        challenge: The challenge.
        results: The folder that results are stored in.
        profile: The scoring profile wanted, the challenge's by default.
        unsigned: Whether runs are taken that this host has a key for and did not sign with it.

    Raises:
        ConfigurationError: there is no such profile, there are no results yet, or some are not signed.
    """
    options.check_profile(profile)
    with progress("reading results") as advance:
        values = read_values(results, challenge, profile=profile, progress=advance)
    if not values:
        raise ConfigurationError(
            f"there are no results of challenge {challenge.name}",
            where=results / challenge.name,
            mend="Run `harness evaluate TEAM` or `harness score PREDICTIONS` first.",
        )
    if not unsigned:
        refuse_unsigned(values)
    return values


def show(board: Leaderboard, output_format: Format, *, organs: bool = False) -> None:
    """Print a leaderboard to stdout."""
    if output_format is Format.TABLE:
        render_terminal(board, stdout(), per_organ=organs)
    else:
        writers = {Format.CSV: to_csv, Format.JSON: to_json, Format.MD: to_markdown, Format.LATEX: to_latex}
        print(writers[output_format](board), end="")
