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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from segkit.log import log
from segkit.partial.annotation import AnnotationTable
from segkit.partial.errors import PipelineError
from segkit.partial.steps import Steps, resolved
from segkit.partial.values import TUMOUR
from segkit.plan import ABDOMINAL_ORGANS
from segkit.training import Options, Task, export

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


class Pipeline(Steps):
    """Runs steps; a step whose result is there and still fits takes no time."""

    def __init__(self, setup: Setup):
        """Take a setup.

        Raises:
            PipelineError: The work folder was made from other data.
        """
        self.setup = setup
        super().__init__(
            setup.table,
            setup.recipes,
            setup.work,
            setup.options,
            {"organ_labels": resolved(setup.organ_labels)},
        )

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
        from segkit.partial.survey import survey

        log.info(survey(self.table, self.work / "survey.json"))

    def teacher(self) -> None:
        """Train the teacher on the cases that annotate the tumour: it against everything else."""
        from distilled.teacher import save_teacher

        cases = self.table.with_tumour()
        if not cases:
            raise PipelineError(f"no case of {self.table.data} annotates the tumour ({TUMOUR}).")
        task = Task("tumour", ("background", "tumour"), {TUMOUR: 1})
        checkpoint = self.train("teacher", cases, task, self.work / "teacher")
        save_teacher(checkpoint, self.teacher_model)

    def tumour_labels(self) -> None:
        """Let the teacher find tumours in the cases that do not annotate them."""
        from distilled.teacher import load_teacher

        weights = self.weights_of(self.teacher_model, "teacher")
        self.label(
            self.table.lacking_tumour(),
            weights,
            lambda: load_teacher(self.teacher_model, self.options.device, self.options.threads).segment,
            self.work / "tumour_labels",
        )

    def organs(self) -> None:
        """Train the student's network on the cases that annotate all organs."""
        if self.setup.organ_labels:
            log.info(f"left out: organ labels come from {self.setup.organ_labels}")
            return
        cases = self.table.with_all_organs()
        if not cases:
            raise PipelineError(
                f"no case of {self.table.data} annotates all organs, so no organ model can be trained; "
                "give organ pseudo labels from another model with --organ-labels DIR."
            )
        checkpoint = self.train("organs", cases, Task("organs", LABELS), self.work / "organs")
        export(checkpoint, self.organ_model)

    def organ_labels(self) -> None:
        """Let the organ model label the cases that lack organs."""
        from segkit.partial.unet_labeller import load_unet

        if self.setup.organ_labels:
            log.info(f"left out: organ labels come from {self.setup.organ_labels}")
            return
        weights = self.weights_of(self.organ_model, "organs")
        self.label(
            self.table.lacking_organs(),
            weights,
            # Where a tumour was seen, the organ that it lies in.
            lambda: load_unet(self.organ_model, leave_out=[TUMOUR], step=0.8, device=self.options.device),
            self.organ_label_folder,
        )

    def fusion(self) -> None:
        """Make one label map for each case out of annotation and pseudo labels."""
        from segkit.partial.fusion import fuse_folder

        kind = self.setup.student_labels
        fused = fuse_folder(
            self.table,
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
        table = self.table
        # Without pseudo labels there is nothing to learn from a case that annotates nothing.
        cases = [case for case in table.cases if self.setup.student_labels != "annotated" or case.annotated]
        start_from = None
        if self.setup.student_starts_from_organs:
            self.weights_of(self.organ_model, "organs")
            start_from = self.organ_model
        checkpoint = self.train(
            "student",
            cases,
            Task("student", LABELS),
            self.work / f"student_{self.setup.student_labels}",
            labels=self.fused_folder,
            start_from=start_from,
        )
        export(checkpoint, self.setup.out)
