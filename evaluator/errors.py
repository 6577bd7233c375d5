"""What can go wrong with a file or a request, each as one line that says what, where and the mend.

ReportedError                  what a person can act on; the harness's own errors derive from it, too
    EvaluatorError             every error that the evaluator raises on purpose
        MissingFileError       no such file or folder, or not what it should be
        CorruptVolumeError     a file that is not the image its name says
        VolumeTooLargeError    reading it would need more memory than allowed
        LabelValueError        voxel values that are no labels
        GeometryError          prediction and reference on different grids
        RequestError           an unknown challenge, profile, metric or label, or a wrong labels file
"""

from __future__ import annotations

from collections.abc import Iterable


class ReportedError(Exception):
    """A failure that is shown as one line, without a traceback.

    Attributes:
        what: What is wrong, as a sentence without a full stop.
        where: The file, label, option or object that it concerns; may be empty.
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


class EvaluatorError(ReportedError):
    """Base of every error that the evaluator raises on purpose."""


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
    """The request makes no sense: an unknown challenge, profile, metric, label or format."""


def choose_one_of(name: str, known: Iterable[str]) -> str:
    """Return the mend for an unknown name: the nearest known one, and all of them."""
    import difflib  # which takes longer to load than the whole of this package

    names = list(known)
    nearest = difflib.get_close_matches(name.lower(), names, n=1)
    return f"{f'Did you mean {nearest[0]}? ' if nearest else ''}Choose one of {', '.join(names)}"
