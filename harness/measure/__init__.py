"""Memory, CPU and GPU as the kernel and the driver count them."""
