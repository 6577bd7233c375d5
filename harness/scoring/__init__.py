"""Scores, made from files on disk at any time and without an engine."""
