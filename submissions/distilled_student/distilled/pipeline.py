"""The steps from a partially annotated data set to a student; each leaves files to look at and to go on from.

survey         which case annotates what                                   WORK/survey.json
teacher        the 2-D attention network, tumour against the rest          WORK/teacher/model/
tumour-labels  its predictions, where the tumour is not annotated          WORK/tumour_labels/
organs         the student's network on the cases that annotate all organs WORK/organs/model/
organ-labels   its predictions, where organs are missing                   WORK/organ_labels/
fusion         one label map for each case, with a record of its sources   WORK/fused/
student        the small network, trained on those                         the model folder
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from segkit.log import log
from segkit.plan import ABDOMINAL_ORGANS
from segkit.training import Options, Pair, Task, export, train

from distilled.annotation import AnnotationTable, Case
from distilled.errors import PipelineError
from distilled.labelling import label_cases
from distilled.values import TUMOUR

STEPS = ("survey", "teacher", "tumour-labels", "organs", "organ-labels", "fusion", "student")
LABELS = ("background", *ABDOMINAL_ORGANS, "tumour")

# What the student learns from; all but the first are for measuring what each kind of pseudo label is worth.
StudentLabels = Literal["fused", "organs", "annotated"]
WHAT_STUDENTS_LEARN_FROM = {
    "fused": "annotations, organ and tumour pseudo labels",
    "organs": "annotations and organ pseudo labels",
    "annotated": "annotations alone, with what they leave out as background",
}


@dataclass(frozen=True)
class Setup:
    """What the pipeline is run on and how.

    Attributes:
        table: The cases and what each annotates.
        recipes: Recipes of "teacher", "organs" and "student", as `segkit.training.train` takes them, each
            with its "architecture".
        work: Where every step leaves what it made.
        out: The student's model folder.
        options: Hours, seed, threads and device of every training.
        organ_labels: Organ pseudo labels from elsewhere, a stronger model for instance; the steps organs and
            organ-labels are then left out.
        student_labels: What the student learns from.
        student_starts_from_organs: Whether the student begins with the organ model's weights.
    """

    table: AnnotationTable
    recipes: Mapping[str, dict[str, Any]]
    work: Path
    out: Path
    options: Options
    organ_labels: Path | None = None
    student_labels: StudentLabels = "fused"
    student_starts_from_organs: bool = False


class Pipeline:
    """Runs steps; a step whose result is there and still fits takes no time."""

    def __init__(self, setup: Setup):
        """Take a setup.

        Raises:
            PipelineError: The work folder was made from other data.
        """
        self.setup = setup
        self.work = setup.work
        self._check_same_work()

    def run(self, step: str) -> None:
        """Run one step.

        Raises:
            PipelineError: What it needs is not there.
            SegkitError: Data, labels or a model cannot be used.
            KeyboardInterrupt: Passed on once what was done is safe.
        """
        steps: dict[str, Callable[[], None]] = {
            "survey": self.survey,
            "teacher": self.teacher,
            "tumour-labels": self.tumour_labels,
            "organs": self.organs,
            "organ-labels": self.organ_labels,
            "fusion": self.fusion,
            "student": self.student,
        }
        log.info(f"== {step}")
        steps[step]()

    # The folders between the steps.
    @property
    def teacher_model(self) -> Path:
        """The teacher's float16 weights and plan."""
        return self.work / "teacher" / "model"

    @property
    def organ_model(self) -> Path:
        """The organ model, a model folder of segkit."""
        return self.work / "organs" / "model"

    @property
    def organ_label_folder(self) -> Path:
        """Organ pseudo labels, this pipeline's or those given."""
        return self.setup.organ_labels or self.work / "organ_labels"

    @property
    def fused_folder(self) -> Path:
        """The labels that the student learns from."""
        ending = "" if self.setup.student_labels == "fused" else f"_{self.setup.student_labels}"
        return self.work / f"fused{ending}"

    def survey(self) -> None:
        """Count who annotates what; compare every label file with the table."""
        from distilled.survey import survey

        log.info(survey(self.setup.table, self.work / "survey.json"))

    def teacher(self) -> None:
        """Train the teacher on the cases that annotate the tumour: it against everything else."""
        from distilled.teacher import save_teacher

        cases = self.setup.table.with_tumour()
        if not cases:
            raise PipelineError(f"no case of {self.setup.table.data} annotates the tumour ({TUMOUR}).")
        task = Task("tumour", ("background", "tumour"), {TUMOUR: 1})
        checkpoint = self._train("teacher", cases, task, self.work / "teacher")
        save_teacher(checkpoint, self.teacher_model)

    def tumour_labels(self) -> None:
        """Let the teacher find tumours in the cases that do not annotate them."""
        from distilled.teacher import load_teacher

        weights = self._weights_of(self.teacher_model, "teacher")
        self._label(
            self.setup.table.lacking_tumour(),
            weights,
            lambda: (
                load_teacher(
                    self.teacher_model, self.setup.options.device, self.setup.options.threads
                ).segment
            ),
            self.work / "tumour_labels",
        )

    def organs(self) -> None:
        """Train the student's network on the cases that annotate all organs."""
        if self.setup.organ_labels:
            log.info(f"left out: organ labels come from {self.setup.organ_labels}")
            return
        cases = self.setup.table.with_all_organs()
        if not cases:
            raise PipelineError(
                f"no case of {self.setup.table.data} annotates all organs, so no organ model can be trained; "
                "give organ pseudo labels from another model with --organ-labels DIR."
            )
        checkpoint = self._train("organs", cases, Task("organs", LABELS), self.work / "organs")
        export(checkpoint, self.organ_model)

    def organ_labels(self) -> None:
        """Let the organ model label the cases that lack organs."""
        from distilled.unet_model import load_unet

        if self.setup.organ_labels:
            log.info(f"left out: organ labels come from {self.setup.organ_labels}")
            return
        weights = self._weights_of(self.organ_model, "organs")
        self._label(
            self.setup.table.lacking_organs(),
            weights,
            # Where a tumour was seen, the organ that it lies in.
            lambda: load_unet(
                self.organ_model, leave_out=[TUMOUR], step=0.8, device=self.setup.options.device
            ),
            self.organ_label_folder,
        )

    def fusion(self) -> None:
        """Make one label map for each case out of annotation and pseudo labels."""
        from distilled.fusion import fuse_folder

        kind = self.setup.student_labels
        fused = fuse_folder(
            self.setup.table,
            organ_labels=None if kind == "annotated" else self.organ_label_folder,
            tumour_labels=self.work / "tumour_labels" if kind == "fused" else None,
            out=self.fused_folder,
            on_case=lambda case: log.info(f"{case.name}: {'fused' if case.is_new else 'there already'}"),
        )
        log.info(
            f"{len(fused)} cases in {self.fused_folder}, {sum(case.is_new for case in fused)} of them new"
        )

    def student(self) -> None:
        """Train the student on the fused labels and write its model folder."""
        table = self.setup.table
        # Without pseudo labels there is nothing to learn from a case that annotates nothing.
        cases = [case for case in table.cases if self.setup.student_labels != "annotated" or case.annotated]
        start_from = None
        if self.setup.student_starts_from_organs:
            self._weights_of(self.organ_model, "organs")
            start_from = self.organ_model
        checkpoint = self._train(
            "student",
            cases,
            Task("student", LABELS),
            self.work / f"student_{self.setup.student_labels}",
            labels=self.fused_folder,
            start_from=start_from,
        )
        export(checkpoint, self.setup.out)

    def _train(
        self,
        recipe: str,
        cases: Any,
        task: Task,
        folder: Path,
        labels: Path | None = None,
        start_from: Path | None = None,
    ) -> Path:
        pairs = []
        for case in cases:
            label = case.label if labels is None else labels / f"{case.name}.nii.gz"
            if label is None or not label.is_file():
                raise PipelineError(f"{label} is missing; run the step fusion first.")
            pairs.append(Pair(case.name, case.image, label))
        log.info(f"{recipe}: learns from {len(pairs)} cases")
        settings = dict(self.setup.recipes[recipe])
        architecture = settings.pop("architecture")
        options = dataclasses.replace(self.setup.options, work=folder, start_from=start_from)
        return train(pairs, task, settings, architecture, options)

    def _label(self, cases: tuple[Case, ...], weights: Path, load: Callable[[], Any], out: Path) -> None:
        done = 0

        def on_case(name: str) -> None:
            nonlocal done
            done += 1
            log.info(f"{out.name}: {done} of {len(cases)} ({name})")

        label_cases(weights, load, [(case.name, case.image) for case in cases], out, on_case)

    def _weights_of(self, model: Path, step: str) -> Path:
        weights = model / "model.safetensors"
        if not weights.is_file():
            raise PipelineError(f"{weights} is missing; run the step {step} first.")
        return weights

    def _check_same_work(self) -> None:
        """A work folder belongs to one data set and one table; trainings check their own recipes."""
        told = {case.name: sorted(case.annotated) for case in self.setup.table.cases}
        mine = {
            "data": str(self.setup.table.data.resolve()),
            "annotated_sha256": _digest(told),
            "organ_labels": str(self.setup.organ_labels.resolve()) if self.setup.organ_labels else None,
        }
        note = self.work / "made_from.json"
        if note.is_file():
            theirs = json.loads(note.read_text())
            differing = [name for name, value in mine.items() if theirs.get(name) != value]
            if differing:
                raise PipelineError(
                    f"{self.work} was made from other {', '.join(differing)}; delete it, or name another "
                    "folder with --work."
                )
            return
        self.work.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(mine, indent=2) + "\n")


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
