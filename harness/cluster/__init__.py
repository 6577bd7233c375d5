"""Many machines: the results folder is the queue, and whatever starts workers may die without loss."""
