"""The report as text: what it says to whom, and that nothing foreign gets through unescaped."""

from __future__ import annotations

import re

import pytest

from harness.challenge import Challenge, load_challenge
from harness.errors import InfrastructureError
from harness.leaderboard.subgroups import CaseTable
from harness.report import write_report
from harness.report.cases import sign_of, suspects
from harness.report.evidence import RunEvidence
from harness.report.failures import HIDDEN_LETTERS
from harness.report.scene import Scene
from harness.results.records import OptOuts, Outcome
from tests.unit.leaderboard.synthetic import Plan, build, make_run, write_evidence, write_run

PHANTOM = load_challenge("phantom")


@pytest.fixture
def plans():
    return [
        Plan("alpha", dsc=0.93, runtime_s=4, outcomes={2: Outcome.MEMORY_LIMIT}, last_log_line="Killed"),
        Plan("beta", dsc=0.9, runtime_s=9, opt_outs=OptOuts(requires_root=True)),
        Plan("gamma", dsc=0.8, runtime_s=30, title="The third"),
        Plan("outside", dsc=0.95, source="predictions"),
    ]


def write(tmp_path, plans, *, view="organiser", cases=10, challenge=PHANTOM, **more):
    runs = [
        make_run(plan, cases=cases, folder=tmp_path / "results" / "phantom", challenge=challenge, **more)
        for plan in plans
    ]
    for run in runs:
        write_evidence(run, write_run(run, tmp_path / "results"), log="LOGGED")
    board = build(runs, challenge=challenge, bootstrap_samples=50)
    index = write_report(board, tmp_path / "report", view=view)
    return text(index), {path.name: text(path) for path in index.parent.glob("submissions/*.html")}


def text(page):
    """Return a page without its script, which holds markup that is no part of it."""
    return re.sub(r"<script>.*</script>", "", page.read_text(), flags=re.S)


def test_every_figure_opens_with_a_question_and_every_drawing_has_a_text_for_those_who_do_not_see_it(
    tmp_path, plans
):
    index, _ = write(tmp_path, plans)
    questions = re.findall(r"<figcaption><strong>([^<]*)</strong>", index)
    assert len(questions) >= 12
    assert all(question.endswith("?") for question in questions)
    assert len(re.findall(r"<svg[^>]*>", index)) == len(
        re.findall(r'<svg[^>]*role="img"[^>]*aria-label="[^"]+', index)
    )


def test_the_report_needs_nothing_from_outside(tmp_path, plans):
    index, pages = write(tmp_path, plans)
    for page in (index, *pages.values()):
        assert not re.findall(r'(?:src|href)="(?!#|data:|submissions/|\.\./index\.html)[^"]*"', page)
        assert "url(" not in page
        assert "@import" not in page


def test_each_row_has_a_page_that_the_leaderboard_links_to(tmp_path, plans):
    index, pages = write(tmp_path, plans)
    assert set(re.findall(r'href="submissions/([^"]+)"', index)) == set(pages)
    assert len(pages) == 4


def test_a_failure_is_shown_with_its_evidence(tmp_path, plans):
    index, pages = write(tmp_path, plans)
    for page in (index, next(page for name, page in pages.items() if "alpha" in name)):
        assert "ended as memory_limit" in page
        assert "8.00 GiB (seen 8.00 GiB)" in page
        assert "Killed" in page


def test_a_team_finds_its_worst_case_first_and_its_logs(tmp_path, plans):
    _, pages = write(tmp_path, plans)
    page = next(page for name, page in pages.items() if "alpha" in name)
    assert "case_002" in re.findall(r'id="worst".*?<th class="team" scope="row">([^<]*)<', page, re.S)
    assert "LOGGEDcase_002" in page


def test_a_team_sees_each_case_beside_the_median_of_all(tmp_path, plans):
    _, pages = write(tmp_path, plans)
    page = next(page for name, page in pages.items() if "alpha" in name)
    drawn = page[page.index('id="own-cases"') :]
    assert len(re.findall(r'<circle[^>]*class="point', drawn)) == 10
    assert drawn.count("point lost") == 1


def test_a_participant_sees_nothing_of_single_cases(tmp_path, plans):
    index, pages = write(tmp_path, plans, view="participant")
    for page in (index, *pages.values()):
        assert not re.search(r"case_\d", page)
        assert "LOGGEDcase" not in page
        assert "harness evaluate" not in page
    assert "Killed" not in index
    for per_case in ("d1-difficulty", "d1-failures", "d1-memory", "d1-gallery"):
        assert f'id="{per_case}"' not in index
    assert "dots faint" not in index
    assert "1 memory limit" in index


def test_the_reproduce_block_names_digest_host_command_and_seed(tmp_path, plans):
    index, _ = write(tmp_path, plans)
    for fact in ("sha256:bbbb", "EPYC 7413", "harness evaluate alpha", "seed 20220501", "f" * 64):
        assert fact in index


def test_a_single_team_and_a_single_case_still_make_a_report(tmp_path, plans):
    index, pages = write(tmp_path, plans[1:2], cases=1)
    assert "alone in competition" in index
    assert len(pages) == 1


def test_a_challenge_without_runs_still_makes_a_report(tmp_path):
    index, pages = write(tmp_path, [])
    assert "No runs to rank" in index
    assert not pages


def test_everybody_failing_everywhere_still_makes_a_report(tmp_path):
    broken = dict.fromkeys(range(10), Outcome.CRASHED)
    index, _ = write(tmp_path, [Plan("a", outcomes=broken), Plan("b", outcomes=broken)])
    assert "20 of 20" in index


def test_partly_annotated_cases_still_make_a_report(tmp_path, plans):
    annotated = {f"case_{index:03d}": (1, 2) for index in range(9)} | {"case_009": (14,)}
    assert "DSC tumour" in write(tmp_path, plans, annotated=annotated)[0]


def test_different_data_sets_have_sections_of_their_own(tmp_path, plans):
    index, pages = write(tmp_path, [*plans, Plan("alpha", fingerprint="e" * 64)])
    assert 'id="d1"' in index
    assert 'id="d2"' in index
    assert "not comparable" in index
    assert len(pages) == 5


def test_pages_of_teams_that_are_gone_are_removed(tmp_path, plans):
    write(tmp_path, plans)
    _, pages = write(tmp_path, plans[:2])
    assert len(pages) == 2


def test_writing_twice_gives_the_same_bytes(tmp_path, plans):
    assert write(tmp_path, plans) == write(tmp_path, plans)


def test_every_outcome_has_its_sign_and_a_new_one_is_drawn_all_the_same(tmp_path):
    failing = [outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED]
    assert len({sign_of(outcome.value) for outcome in failing}) == len(failing)
    index, _ = write(tmp_path, [Plan("team", outcomes=dict(enumerate(failing))), Plan("other")], cases=12)
    for outcome in failing:
        assert f"{sign_of(outcome.value)} {outcome.value.replace('_', ' ')} (1)" in index
    assert sign_of("struck_by_lightning") == "s"


def test_metrics_of_any_unit_are_drawn_and_listed(tmp_path):
    """One team misses a label: infinitely far off, and still a figure, a table and a page."""
    ranked = {"metrics": [{"metric": "hd95", "labels": "organs"}, {"metric": "dsc", "labels": "tumour"}]}
    challenge = Challenge.model_validate(PHANTOM.model_dump(mode="json") | {"ranking": ranked})
    plans = [Plan("near", dsc=0.9), Plan("far", dsc=0.7, outcomes={1: Outcome.CRASHED})]
    index, pages = write(tmp_path, plans, challenge=challenge)
    assert "HD95 organs, mm" in index
    assert "Which organs are hard, and for whom (DSC, NSD, HD95)?" in index
    assert "∞" in index
    assert all("best HD95 mm" in page for page in pages.values())
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan", "", index.lower().split("</style>")[1])


def test_only_distances_make_a_report_without_percent(tmp_path):
    ranked = {"metrics": [{"metric": "masd", "labels": "organs"}]}
    content = PHANTOM.model_dump(mode="json") | {"ranking": ranked, "scoring": {"metrics": []}}
    index, pages = write(tmp_path, [Plan("a"), Plan("b")], challenge=Challenge.model_validate(content))
    assert "MASD organs" in index
    assert all("MASD organs" in page for page in pages.values())


def test_of_a_journal_only_the_asked_cases_become_records_and_the_last_attempt_counts(tmp_path):
    run = make_run(Plan("team", outcomes={1: Outcome.INFRASTRUCTURE}), cases=3)
    again = make_run(Plan("team", outcomes={1: Outcome.CRASHED}), cases=3).executions[1]
    folder = write_run(type(run)(run.folder, run.record, (*run.executions, again), run.scores), tmp_path)
    journal = folder / "cases.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"outcome":"succeeded"', b'"outcome":"unheard of"', 1))
    evidence = RunEvidence(folder)
    (record,) = evidence.executions({"case_001", "case_999"}).values()
    assert (record.case, record.outcome) == ("case_001", Outcome.CRASHED)
    assert evidence.executions(set()) == {}
    with pytest.raises(InfrastructureError, match="damaged"):
        evidence.execution("case_000")


def test_alike_failures_of_a_method_are_one_line_with_their_number(tmp_path):
    broken = dict.fromkeys(range(5), Outcome.CRASHED) | {7: Outcome.TIME_LIMIT}
    _, pages = write(tmp_path, [Plan("team", outcomes=broken, last_log_line="no weights"), Plan("other")])
    page = next(page for name, page in pages.items() if "team" in name)
    counts = re.findall(r'data-label="cases">(\d+)</td>', page)
    assert counts == ["5", "1"]
    assert "6 failed cases in all" in page


def test_a_team_reads_why_it_failed_on_a_hidden_set_but_nothing_of_the_cases(tmp_path):
    line = f"File predict.py, line 12: mean of case_003 is 41.25, blob {12 * 'QUJD'}"
    broken = dict.fromkeys(range(4), Outcome.CRASHED)
    index, pages = write(
        tmp_path, [Plan("team", outcomes=broken, last_log_line=line), Plan("other")], view="participant"
    )
    page = next(page for name, page in pages.items() if "team" in name)
    assert "File predict.py, line 12: mean of ‹case› is #, blob ‹…›" in page
    for secret in ("case_003", "41.25", "QUJDQUJD"):
        assert secret not in page
        assert secret not in index
    assert "predict.py" not in index
    logs = re.findall(r"<pre>(.*?)</pre>", page, re.S)
    assert 0 < sum(map(len, logs)) <= HIDDEN_LETTERS


def test_a_team_whose_masks_are_empty_is_not_painted_as_good(tmp_path):
    index, _ = write(tmp_path, [Plan("good", dsc=0.95), Plan("empty", dsc=0.0)])
    grid = index[index.index('id="d1-outcomes"') :]
    grid = grid[: grid.index("</figure>")]
    rows = {level: set(re.findall(rf'class="ok ok{level}" data-t="(\d)"', grid)) for level in range(7)}
    assert rows[0] == {"1"}
    assert all("1" not in rows[level] for level in range(1, 7))


def test_too_few_cases_are_said_instead_of_an_empty_map(tmp_path, plans):
    index, _ = write(tmp_path, plans[:3], cases=6)
    assert "6 cases cannot separate any 3 methods" in index
    assert "it takes 7" in index
    assert 'id="d1-tau"' not in index


def test_histograms_of_kendalls_tau_begin_at_five_methods(tmp_path):
    assert 'id="d1-tau"' in write(tmp_path, [Plan(f"t{i}", dsc=0.9 - 0.05 * i) for i in range(5)])[0]


def test_a_reference_is_suspected_only_where_good_methods_all_fall(tmp_path):
    def board(fallen: set[int], tumour: float, cases: int = 12):
        runs = []
        for team in "abc":
            run = make_run(Plan(team, dsc=0.9), cases=cases)
            scores = [lowered(score, case in fallen, tumour) for case, score in enumerate(run.scores)]
            runs.append(type(run)(run.folder, run.record, run.executions, tuple(scores)))
        return build(runs, challenge=PHANTOM, bootstrap_samples=0)

    def lowered(score, fallen, tumour):
        labels = []
        for label in score.scores:
            value = tumour if label.label == 14 else 0.2 if fallen else label.scores["dsc"]
            labels.append(label.model_copy(update={"scores": {"dsc": value, "nsd": value}}))
        return score.model_copy(update={"scores": tuple(labels)})

    def found(*arguments):
        made = board(*arguments)
        return suspects(Scene(made, made.divisions[0], "organiser"))

    assert found({4}, 0.8) == [4]
    assert found(set(), 0.0) == []  # a tumour that all miss says nothing about its reference
    assert found({4}, 0.8, 6) == []  # six cases say nothing either


def test_kinds_of_cases_are_drawn_and_listed_and_small_ones_hidden_with_the_set(tmp_path):
    kinds = ["rare", *["odd", "even"] * 6][:12]
    table = CaseTable({"scanner": {f"case_{number:03d}": kind for number, kind in enumerate(kinds)}})
    runs = [make_run(Plan(team, dsc=dsc), cases=12) for team, dsc in (("a", 0.9), ("b", 0.8))]
    board = build(runs, challenge=PHANTOM, bootstrap_samples=50, case_table=table)
    seen = {}
    for view in ("organiser", "participant"):
        seen[view] = text(write_report(board, tmp_path / view, view=view))
    for page in seen.values():
        assert 'id="d1-subgroups"' in page
        assert "scanner: odd (n = 6)" in page
        assert re.search(r"\d\d\.\d\d % \(\d\d\.\d\d % to \d\d\.\d\d %\)", page)
    assert "scanner: rare" in seen["organiser"]
    assert "scanner: rare" not in seen["participant"]


@pytest.mark.parametrize(("teams", "corner"), [(2, "cases"), (4, "method")])
def test_the_table_of_kinds_has_the_fewer_of_methods_and_kinds_across(tmp_path, teams, corner):
    kinds = ("x", "y", "z")
    table = CaseTable({"scanner": {f"case_{number:03d}": kinds[number % 3] for number in range(12)}})
    runs = [make_run(Plan(f"t{number}", dsc=0.9 - number / 10), cases=12) for number in range(teams)]
    board = build(runs, challenge=PHANTOM, bootstrap_samples=20, case_table=table)
    assert {part.column for part in board.divisions[0].subgroups} == {"scanner"}
    page = text(write_report(board, tmp_path))
    body = page[page.index('<table class="parts">') :]
    body = body[: body.index("</table>")]
    assert f'class="team">{corner}</th>' in body
    assert body.count("<td") == 3 * teams
    assert body.count('<th scope="col"') - 1 == min(teams, 3)
    first = body[body.index("<tbody>") :]
    assert first.index('data-t="0"') < first.index('data-t="1"')


def test_every_mean_has_its_number_of_cases_and_its_interval_and_wins_are_drawn(tmp_path, plans):
    index, _ = write(tmp_path, plans)
    assert "DSC organs % n=10" in index
    assert 'title="bootstrap interval, n = 10"' in index
    assert "P(first)" in index
    wins = index[index.index('id="d1-wins"') :]
    assert "beats" in wins[: wins.index("</figure>")]
