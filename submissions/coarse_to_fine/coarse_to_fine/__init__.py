"""Coarse, tumour and organ models: the first finds the abdomen, the others work in its box."""
