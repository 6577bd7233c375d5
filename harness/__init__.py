"""Run segmentation submissions in containers, measure them, score them and rank them."""

from harness._version import __version__

__all__ = ["__version__"]
