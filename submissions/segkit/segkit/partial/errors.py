"""What can go wrong with data that are annotated in part, each with one clear sentence."""

from __future__ import annotations

from segkit.errors import SegkitError


class AnnotationError(SegkitError):
    """A table of annotations that contradicts itself or the files it speaks of."""


class VolumeError(SegkitError):
    """A label file that cannot be used: unreadable, no label map, or not on its CT's grid."""


class FusionError(SegkitError):
    """Labels that cannot be fused: a source is missing, or the output would touch an input."""


class PipelineError(SegkitError):
    """A step that cannot run: what it needs is not there, or its folder was made from something else."""
