"""The steps of a training from partially annotated cases, each of which leaves files to go on from.

A method names its steps and their order; here is how a step trains on some of the cases, how it labels the
others, and how a work folder is kept to one data set.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.cases import LABEL_ENDING
from segkit.log import log
from segkit.partial.annotation import AnnotationTable, Case
from segkit.partial.errors import PipelineError
from segkit.partial.labelling import Segment, label_cases
from segkit.training import Options, Pair, Task, train


class Steps:
    """The common part of a method's steps; a step whose result is there and still fits takes no time.

    Args:
        table: The cases and what each annotates.
        recipes: By name, as `segkit.training.train` takes them, each with its "architecture".
        work: Where every step leaves what it made.
        options: Hours, seed, threads and device of every training.
        made_from: What else the results depend on, by the name that a refusal gives it.

    Raises:
        PipelineError: The work folder was made from something else.
    """

    def __init__(
        self,
        table: AnnotationTable,
        recipes: Mapping[str, dict[str, Any]],
        work: Path,
        options: Options,
        made_from: Mapping[str, Any],
    ):
        self.table = table
        self.recipes = recipes
        self.work = work
        self.options = options
        self._check_same_work(made_from)

    def train(
        self,
        recipe: str,
        cases: Sequence[Case],
        task: Task,
        folder: Path,
        *,
        labels: Path | None = None,
        start_from: Path | None = None,
        seed: int | None = None,
    ) -> Path:
        """Train a recipe on cases; returns the newest checkpoint.

        Args:
            recipe: Its name.
            cases: What to learn from.
            task: What to learn.
            folder: The training's own work folder.
            labels: Folder of fused labels; the cases' own label files if None.
            start_from: Model folder whose weights the training begins with.
            seed: In place of that of the options.

        Raises:
            PipelineError: A case's label file is not there.
            SegkitError: Data or recipe cannot be used.
        """
        pairs = []
        for case in cases:
            label = case.label if labels is None else labels / f"{case.name}{LABEL_ENDING}"
            if label is None or not label.is_file():
                raise PipelineError(f"{label} is missing; run the step fusion first.")
            pairs.append(Pair(case.name, case.image, label))
        log.info(f"{recipe}: learns from {len(pairs)} cases")
        settings = dict(self.recipes[recipe])
        architecture = settings.pop("architecture")
        options = dataclasses.replace(self.options, work=folder, start_from=start_from)
        if seed is not None:
            options = dataclasses.replace(options, seed=seed)
        return train(pairs, task, settings, architecture, options)

    def label(self, cases: Sequence[Case], weights: Path, load: Callable[[], Segment], out: Path) -> None:
        """Write a model's labels of cases to a folder; see `segkit.partial.labelling.label_cases`."""
        done = 0

        def on_case(name: str) -> None:
            nonlocal done
            done += 1
            log.info(f"{out.name}: {done} of {len(cases)} ({name})")

        label_cases(weights, load, [(case.name, case.image) for case in cases], out, on_case)

    def weights_of(self, model: Path, step: str) -> Path:
        """The weights of a model folder that a step makes.

        Raises:
            PipelineError: They are not there.
        """
        # Imports torch, which must not happen before a training has set its threads.
        from segkit.model import WEIGHTS_NAME

        weights = model / WEIGHTS_NAME
        if not weights.is_file():
            raise PipelineError(f"{weights} is missing; run the step {step} first.")
        return weights

    def _check_same_work(self, made_from: Mapping[str, Any]) -> None:
        """A work folder belongs to one data set and one table; trainings check their own recipes."""
        told = {case.name: sorted(case.annotated) for case in self.table.cases}
        mine = {
            "data": str(self.table.data.resolve()),
            "annotated_sha256": _digest(told),
            **made_from,
        }
        note = self.work / "made_from.json"
        if note.is_file():
            theirs = json.loads(note.read_text(encoding="utf-8"))
            differing = [name for name, value in mine.items() if theirs.get(name) != value]
            if differing:
                raise PipelineError(
                    f"{self.work} was made from other {', '.join(differing)}; delete it, or name another "
                    "folder with --work."
                )
            return
        self.work.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(mine, indent=2) + "\n", encoding="utf-8")


def resolved(folder: Path | None) -> str | None:
    """A folder as `made_from` holds it."""
    return str(folder.resolve()) if folder else None


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
