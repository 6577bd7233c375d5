"""A work folder, shared by everybody who trains a member: data, plans, members, the choice among them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.files import write_whole
from segkit.training.nnunet import Layout, environment
from segkit.training.run import stopping_on_sigterm

from stack.schedule import HowToTrain
from stack.words import CONFIGURATIONS

PLANS = "nnUNetPlans"


@dataclass(frozen=True)
class Work:
    """Where everything lies and how it is made.

    Attributes:
        folder: The work folder.
        dataset: nnU-Net's name of the data, Dataset001_NAME.
        how: The schedule.
        threads: CPU threads.
        processes: Cases that nnU-Net prepares or scores at a time.
        device: "cpu" or "cuda".
        mirrored: Whether volumes are mirrored at test time.
        start_from: A bundle whose weights members begin with.
        given_plans: Plans of nnU-Net's to take in place of planning.
    """

    folder: Path
    dataset: str
    how: HowToTrain
    threads: int
    processes: int
    device: str
    mirrored: bool = False
    start_from: Path | None = None
    given_plans: Path | None = None

    @property
    def raw(self) -> Path:
        """nnU-Net's raw data."""
        return self.folder / "raw" / self.dataset

    @property
    def preprocessed(self) -> Path:
        """Fingerprint, plans, and cases on the networks' grids."""
        return self.folder / "preprocessed" / self.dataset

    @property
    def plans(self) -> Path:
        """The plans."""
        return self.preprocessed / f"{PLANS}.json"

    @property
    def results(self) -> Path:
        """All trained members."""
        return self.folder / "results" / self.dataset

    def model(self, configuration: str) -> Path:
        """The folder of a configuration's folds."""
        return self.results / f"{self.how.trainer}__{PLANS}__{configuration}"

    def lock(self, name: str) -> Path:
        """The lock of a step."""
        return self.folder / "locks" / f"{name}.lock"

    def configurations(self) -> list[str]:
        """What the plans have, in the order in which they are trained."""
        planned = json.loads(self.plans.read_text(encoding="utf-8"))["configurations"]
        return [name for name in CONFIGURATIONS if name in planned]

    @contextmanager
    def for_nnunet(self) -> Iterator[None]:
        """Let nnU-Net work in this folder while the block runs."""
        # Read when nnU-Net is first imported.
        os.environ.setdefault("nnUNet_def_n_proc", str(self.processes))
        with stopping_on_sigterm(), environment(Layout(self.folder, self.dataset, 3), self.threads, ()):
            yield


def done(path: Path) -> bool:
    """Whether a step left its mark."""
    return path.is_file()


def mark(path: Path, told: Any) -> None:
    """Leave a step's mark."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(told, indent=1) + "\n")
