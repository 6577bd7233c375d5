"""Data that are annotated in part: who annotates what, pseudo labels of a model, and the fusion of both.

Methods that learn from data pooled from many sites share this; what each of them trains, and in which order,
is its own.
"""
