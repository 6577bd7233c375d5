"""The two-phase cascade: find the organs' region, then segment the organs in it."""
