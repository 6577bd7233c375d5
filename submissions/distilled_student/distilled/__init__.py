"""A teacher finds tumours, labels from three sources become one, and a small student learns from them."""
