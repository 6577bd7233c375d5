"""Scoring as platforms call it: grand-challenge's evaluation method, Codabench's scoring program."""
