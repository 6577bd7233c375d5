"""What can go wrong with a file or a request, each as one line that says what, where and the mend."""

from __future__ import annotations


class EvaluatorError(Exception):
    """Base of every error that the evaluator raises on purpose.

    Attributes:
        what: What is wrong, as a sentence without a full stop.
        where: The file, label or option that it concerns; may be empty.
        mend: What the person can do about it; may be empty.
    """

    def __init__(self, what: str, *, where: object = "", mend: str = "") -> None:
        self.what = what
        self.where = str(where)
        self.mend = mend
        super().__init__(self.one_line())

    def one_line(self) -> str:
        """Return `what (where). mend` as one line."""
        text = f"{self.what} ({self.where})" if self.where else self.what
        text = f"{text}. {self.mend}" if self.mend else text
        return " ".join(text.split())


class MissingFileError(EvaluatorError):
    """A file or folder that was asked for does not exist, or is not what it should be."""


class CorruptVolumeError(EvaluatorError):
    """A file is truncated, damaged, or not the image format that its name says."""


class VolumeTooLargeError(EvaluatorError):
    """Reading the volume would need more memory than the caller allows."""


class LabelValueError(EvaluatorError):
    """A label volume holds values that are no labels: fractions, NaN, infinities."""


class GeometryError(EvaluatorError):
    """Prediction and reference do not lie on the same grid and no flip or axis swap explains it."""


class RequestError(EvaluatorError):
    """The request makes no sense: an unknown challenge, profile, label or format."""
