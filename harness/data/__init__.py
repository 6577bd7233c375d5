"""Data sets on disk, and the embedded one."""
