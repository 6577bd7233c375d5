"""Every command that README and docs print exists, with its options; the blocks without an engine run."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from archives import config_of, docker_files, files_tar, unpack
from engines import fake_client

from harness.cli.app import COMMANDS, load_command, run
from harness.engine.docker_images import DockerImages
from harness.engine.process import ProcessEngine
from harness.results.records import Outcome
from harness.submission.folder import run_alone
from harness.submission.image import describe

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
_LINE = re.compile(r"^\s*(?:\$ )?((?:[A-Z_]+=\S+ )*(?:harness|make|python3? -m evaluator)(?: [^\n]*)?)$")


def commands(page: Path) -> list[str]:
    """Return the command lines of a page's blocks, without their comments, continued lines joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    fenced = [part for part in re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL)]
    indented = re.findall(r"(?:^    .*\n?)+", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    lines = [line for block in (*fenced, *indented) for line in block.splitlines()]
    found = [match[1] for line in lines if (match := _LINE.match(line))]
    return [re.split(r"\s{2,}#|\s#\s", line)[0].strip() for line in found if "->" not in line]


ALL = [(page.name, line) for page in PAGES for line in commands(page)]


@pytest.mark.parametrize(("page", "line"), ALL)
def test_a_printed_command_exists_with_its_options(page, line):
    for part in re.split(r"\s*(?:&&|\|)\s*", line):
        words = shlex.split(re.sub(r"[\[\]]", "", part) if "harness" not in part else part)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words.pop(0)
        if words[:1] == ["make"]:
            assert {word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]*", word)} <= TARGETS
        elif words[:1] == ["harness"]:
            understood(words[1:])


def understood(words: list[str]) -> None:
    """Let the command's own parser read its words; nothing is run."""
    words = [re.split(r"[\[\]|]", word)[0] or word for word in words if word not in ("[", "]")]
    words = [word for word in words if not word.startswith("[")]
    if words in ([], ["--version"]) or words[0] not in COMMANDS:
        assert words in ([], ["--version"], ["COMMAND", "--help"])
        return
    command = load_command(words[0])
    options = {name for one in command.params for name in one.opts} | {"--help", "-q", "-v"}
    inner = getattr(command, "commands", {})
    for word in words[1:]:
        if word in inner:
            options |= {name for one in inner[word].params for name in one.opts}
    given = {word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
    assert given <= options, given - options


def block_after(page: str, heading: str) -> str:
    """Return the first block of commands behind some words of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    behind = text[text.index(heading) :]
    indented = re.search(r"(?:^    .*\n)+", behind, re.MULTILINE)
    assert indented is not None
    return indented[0]


@pytest.fixture
def own(tmp_path):
    """An organiser's folder: three cases with two labels, predictions, and the challenge of the page."""
    generator = np.random.default_rng(3)
    for number in (1, 2, 3):
        labels = np.zeros((24, 20, 12), np.uint8)
        labels[4:12, 5:14, 2:9], labels[15:20, 8:13, 3:8] = 1, 2
        image = (labels * 60 + generator.normal(0, 9, labels.shape)).astype(np.int16)
        name, affine = f"pat_{number:03d}", np.diag([1.0, 1.0, 2.5, 1.0])
        parts = (
            ("data/imagesVal", f"{name}_0000", image),
            ("data/labelsVal", name, labels),
            ("predictions", name, np.roll(labels, 1, axis=0)),
        )
        for folder, stem, array in parts:
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine), tmp_path / folder / f"{stem}.nii.gz")
    (tmp_path / "mine.toml").write_text(rules_of_the_page(), encoding="utf-8")
    return tmp_path


def rules_of_the_page() -> str:
    """Return the challenge that the organisers' page shows."""
    page = (ROOT / "docs" / "organisers.md").read_text(encoding="utf-8")
    (rules,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    tomllib.loads(rules)
    return rules


def shell(folder: Path, script: str) -> str:
    """Run commands as a reader would, in a folder, with the environment's programs first."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_organisers_page_leads_to_a_report(own):
    page = (ROOT / "docs" / "organisers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    first, *others = blocks
    assert len(others) == 2
    (own / "mine.toml").unlink()
    shell(own, first)
    shell(own, others[0])
    (own / "mine.toml").write_text(rules_of_the_page(), encoding="utf-8")
    for block in others:
        shell(own, block)
    report = own / "results" / "mine" / "report"
    assert "first" in (report / "index.html").read_text()
    assert len(list((report / "cases").glob("*.html"))) == 3


def test_the_readme_s_way_of_scoring_runs_in_at_most_ten_lines(own):
    block = block_after("README.md", "**Score only**")
    assert len(block.splitlines()) <= 10
    assert "liver" in shell(own, block)
    assert (own / "results" / "mine" / "leaderboard.csv").is_file()


# What a participant has: voxels of about 60 are label 1, of about 120 label 2.
SCRIPT = """
import sys
from pathlib import Path
import nibabel as nib
import numpy as np
for path in Path(sys.argv[1]).glob("*_0000.nii.gz"):
    image = nib.load(path)
    labels = np.rint(image.get_fdata() / 60).clip(0, 2).astype(np.uint8)
    name = path.name.replace("_0000.nii.gz", ".nii.gz")
    nib.save(nib.Nifti1Image(labels, image.affine), Path(sys.argv[2]) / name)
"""


class FoldersOfImages(ProcessEngine):
    """An engine whose images are real archives in memory, and whose containers are processes."""

    def __init__(self, place):
        self.place = place
        self.api = fake_client().api
        self.images = DockerImages(SimpleNamespace(api=self.api))

    def image(self, reference):
        found = self.images.inspect(reference)
        (layer,) = self.api.images_by_id[found.id][1]
        folder = self.place / found.id.removeprefix("sha256:")
        with tarfile.open(fileobj=io.BytesIO(layer)) as files:
            unpack(files, folder)
        return replace(super().image(str(folder / "workspace")), digest=found.id, identity=found.id)


def saved(folder):
    """Return what `docker save` would write of a submission's folder, COPYed into /workspace."""
    files = {f"workspace/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
    layer = files_tar(files | {"bin/bash": b"", "bin/sh": b""})
    config = config_of(layer, architecture="amd64", config={"WorkingDir": "/workspace", "User": "65532"})
    return files_tar(docker_files(layer, config=config, tags=[f"{folder.name}:latest"]))


@pytest.fixture
def engine(own, monkeypatch):
    """Commands of this process find the engine above, in which building is to copy the folder."""
    engine = FoldersOfImages(own / "engine")

    def build(submission, *, images, **_):
        images.load([saved(submission.folder)])
        return describe(images, f"{submission.name}:latest")

    for module in ("check", "evaluate", "pack"):
        monkeypatch.setattr(f"harness.cli.{module}.open_engine", lambda *_: engine)
    for module in ("entry", "pack"):
        monkeypatch.setattr(f"harness.cli.{module}.build", build)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.chdir(own)
    (own / "predict.py").write_text(SCRIPT)
    return engine


def run_block(heading):
    """Run each line of a block of the README, as it is printed."""
    lines = block_after("README.md", heading).splitlines()
    assert 0 < len(lines) <= 10
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "harness"
        assert run(words) == 0, line


def test_the_readme_s_first_two_commands_call_what_runs(own, engine):
    """`make` is asked what it would do; its lines for the harness run on three small cases."""
    assert run(["new", "small_unet", "--script", "predict.py"]) == 0
    for name in ("imagesVal", "labelsVal"):
        shutil.copytree(own / "data" / name, own / "data" / "phantom" / name)
    called = []
    for line in block_after("README.md", "says how accurate").splitlines():
        words = shlex.split(line.partition("#")[0])
        assert words[0] == "make"
        told = subprocess.run(
            ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True
        )
        (call,) = re.findall(
            r"bin/harness ((?:evaluate|leaderboard report) .*?)(?: *\|\||$)",
            told.stdout.replace("\\\n", " "),
            re.M,
        )
        called.append(shlex.split(call))
        assert run(called[-1]) == 0
    assert called[0][:2] == ["evaluate", "small_unet"]
    assert (own / "results" / "phantom" / "report" / "index.html").is_file()


def test_the_readme_s_way_of_judging_runs(own, engine):
    assert run(["new", "team_a", "--script", "predict.py"]) == 0
    for team in ("team_a", "team_b"):
        archive = gzip.compress(saved(own / "submissions" / "team_a"))
        (own / f"{team}.tar.gz").write_bytes(archive)
    (own / "mine.toml").unlink()
    run_block("**Judge**")
    with (own / "results" / "mine" / "leaderboard.csv").open() as file:
        assert {row["team"] for row in csv.DictReader(file)} == {"team_a", "team_b"}
    assert (own / "results" / "mine" / "report" / "index.html").is_file()


def test_the_readme_s_way_of_taking_part_runs(own, engine, capsys):
    run_block("**Take part**")
    assert "this submission would be accepted" in capsys.readouterr().out
    assert run(["check", "dist/mine.tar.gz", "--static"]) == 0


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in (ROOT / "submissions").glob("*/predict.sh"))
)
def test_each_method_s_readme_runs_its_image_as_a_new_submission_s_does(folder):
    assert run_alone(folder.name) in (folder / "README.md").read_text(encoding="utf-8")


def test_every_command_is_on_its_page():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"## harness {name}\n" in page, "run `make docs`"
        for inner in getattr(load_command(name), "commands", {}):
            assert f"## harness {name} {inner}\n" in page, "run `make docs`"


def test_every_outcome_variable_and_page_is_in_the_reference():
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert all(f"`{outcome.value}`" in page for outcome in Outcome)
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "harness").rglob("*.py")]
    for name in {name for text in sources for name in re.findall(r"FLAREHARNESS_[A-Z_]+", text)}:
        assert f"`{name}`" in page, name
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(path.name in nav for path in (ROOT / "docs").glob("*.md"))


def test_pictures_are_small_and_there():
    names = re.findall(r"docs/(images/[a-z-]+\.png)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert names
    for name in names:
        assert 0 < (ROOT / "docs" / name).stat().st_size <= 300_000


@pytest.mark.skipif(shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None, reason="NO MKDOCS")
def test_the_site_builds_and_its_links_hold(tmp_path):
    done = subprocess.run(
        [Path(sys.executable).parent / "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").is_file()
