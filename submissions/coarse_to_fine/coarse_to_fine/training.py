"""The steps from a partially annotated data set to the four models; each leaves files to go on from.

survey         which case annotates what                                      WORK/survey.json
coarse         the coarse network, on the cases that annotate all organs      OUT/coarse/
coarse-labels  its labels of the cases that lack organs                       WORK/coarse_labels/
completion     annotated tumours among annotated and coarse organs            WORK/completed/
tumour1        a network of organs and tumour, trained on those               OUT/tumour1/
tumour2        another one: own patch, own seed                               OUT/tumour2/
fusion         every case's organs, annotated or labelled by a model          WORK/fused/
organs         the organ network, trained on those; and the rules             OUT/organs/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.files import write_whole
from segkit.log import log
from segkit.partial.annotation import AnnotationTable, Case
from segkit.partial.errors import PipelineError
from segkit.partial.steps import Steps, resolved
from segkit.partial.values import ORGANS as ORGAN_VALUES
from segkit.partial.values import TUMOUR
from segkit.plan import ABDOMINAL_ORGANS
from segkit.training import Options, Task, export

from coarse_to_fine.plan import COARSE, ORGANS, PLAN_NAME, CoarseRules, MethodPlan

STEPS = ("survey", "coarse", "coarse-labels", "completion", "tumour1", "tumour2", "fusion", "organs")
RECIPES = ("coarse", "tumour1", "tumour2", "organs")

ORGAN_LABELS = ("background", *ABDOMINAL_ORGANS)
REACH_MM = 170 / 3 * 2.3009669
"""How far from the liver a part may lie: the published number of voxels in the published spacing."""


@dataclass(frozen=True)
class Setup:
    """What the steps are run on and how.

    Attributes:
        table: The cases and what each annotates.
        recipes: Recipes of `RECIPES`, as `segkit.training.train` takes them, each with its "architecture".
        work: Where every step leaves what it made.
        out: Gets the rules and a model folder of each network.
        options: Hours, seed, threads and device of every training.
        organ_labels: Organ pseudo labels from elsewhere for the organ network; the coarse network's if None.
    """

    table: AnnotationTable
    recipes: Mapping[str, dict[str, Any]]
    work: Path
    out: Path
    options: Options
    organ_labels: Path | None = None


class Pipeline(Steps):
    """Runs steps; a step whose result is there and still fits takes no time."""

    def __init__(self, setup: Setup):
        """Take a setup.

        Raises:
            PipelineError: The work folder was made from other data.
        """
        super().__init__(
            setup.table,
            setup.recipes,
            setup.work,
            setup.options,
            {"organ_labels": resolved(setup.organ_labels)},
        )
        self.out = setup.out
        self.given_labels = setup.organ_labels

    def run(self, step: str) -> None:
        """Run one step.

        Raises:
            PipelineError: What it needs is not there.
            SegkitError: Data, labels or a model cannot be used.
            KeyboardInterrupt: Passed on once what was done is safe.
        """
        log.info(f"== {step}")
        {
            "survey": self.survey,
            "coarse": self.coarse,
            "coarse-labels": self.coarse_labels,
            "completion": self.completion,
            "tumour1": lambda: self.tumour("tumour1", seed_step=0),
            "tumour2": lambda: self.tumour("tumour2", seed_step=1),
            "fusion": self.fusion,
            "organs": self.organs,
        }[step]()

    @property
    def coarse_label_folder(self) -> Path:
        """The coarse network's labels."""
        return self.work / "coarse_labels"

    def survey(self) -> None:
        """Count who annotates what; compare every label file with the table."""
        from segkit.partial.survey import survey

        log.info(survey(self.table, self.work / "survey.json"))

    def coarse(self) -> None:
        """Train the coarse network, whole and deeply supervised, on the cases that annotate all organs."""
        cases = self.table.with_all_organs()
        if not cases:
            raise PipelineError(
                f"no case of {self.table.data} annotates all organs; the coarse model learns from such cases."
            )
        self._model(COARSE, cases, organ_task(COARSE))

    def coarse_labels(self) -> None:
        """Let the coarse network, to its finest head, label the cases that need it."""
        from segkit.partial.unet_labeller import load_unet

        weights = self.weights_of(self.out / COARSE, "coarse")
        needed = {case.name for case in self.table.with_tumour()} if self.given_labels else None
        cases = [case for case in self.table.lacking_organs() if needed is None or case.name in needed]
        self.label(
            cases,
            weights,
            lambda: load_unet(self.out / COARSE, device=self.options.device),
            self.coarse_label_folder,
        )

    def completion(self) -> None:
        """Complete the cases that annotate the tumour with the coarse network's organs."""
        cases = self._with_tumour()
        self._fuse(cases, self.coarse_label_folder, self.work / "completed")

    def tumour(self, name: str, *, seed_step: int) -> None:
        """Train a network of organs and tumour on the completed cases.

        Args:
            name: The model's.
            seed_step: Added to the seed, so that two networks do not see the same patches.
        """
        task = Task(name, (*ORGAN_LABELS, "tumour"))
        seed = None if self.options.seed is None else self.options.seed + seed_step
        self._model(name, self._with_tumour(), task, labels=self.work / "completed", seed=seed)

    def fusion(self) -> None:
        """Give every case all organs: what it annotates, the rest from a model."""
        self._fuse(self.table.cases, self.given_labels or self.coarse_label_folder, self.work / "fused")

    def organs(self) -> None:
        """Train the organ network on those, and write the rules."""
        self._model(ORGANS, self.table.cases, organ_task(ORGANS), labels=self.work / "fused")
        spacing_z_mm = float(self.recipes[COARSE]["spacing"][0])
        rules = MethodPlan(coarse=CoarseRules(reach_voxels=round(REACH_MM / spacing_z_mm, 2)))
        write_whole(self.out / PLAN_NAME, rules.to_json())

    def _model(
        self,
        name: str,
        cases: Sequence[Case],
        task: Task,
        *,
        labels: Path | None = None,
        seed: int | None = None,
    ) -> None:
        checkpoint = self.train(name, cases, task, self.work / name, labels=labels, seed=seed)
        export(checkpoint, self.out / name)

    def _with_tumour(self) -> tuple[Case, ...]:
        cases = self.table.with_tumour()
        if not cases:
            raise PipelineError(f"no case of {self.table.data} annotates the tumour ({TUMOUR}).")
        return cases

    def _fuse(self, cases: Sequence[Case], organ_labels: Path, out: Path) -> None:
        from segkit.partial.fusion import fuse_folder

        fused = fuse_folder(
            self.table,
            out,
            organ_labels=organ_labels,
            tumour_labels=None,
            cases=[case.name for case in cases],
            on_case=lambda case: log.info(f"{case.name}: {'fused' if case.is_new else 'there already'}"),
        )
        log.info(f"{len(fused)} cases in {out}, {sum(case.is_new for case in fused)} of them new")


def organ_task(name: str) -> Task:
    """All organs; a tumour is background, since it is written over the organs in the end."""
    return Task(name, ORGAN_LABELS, {value: value for value in sorted(ORGAN_VALUES)})
