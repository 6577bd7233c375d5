"""Coarse, tumour and organ models: each of a case's three stages works where the one before found something."""
