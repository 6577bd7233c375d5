"""Many teams in one call: who takes part, in which order, within which quota, and what became of each."""
