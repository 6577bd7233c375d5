"""Training both phases; nothing here is needed to run them."""
