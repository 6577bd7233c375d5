"""The evaluator's version: it changes when a score could."""

__version__ = "0.3.0"
