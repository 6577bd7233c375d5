"""The version of the distribution, in the one place that needs no imports."""

__version__ = "1.0.0"
