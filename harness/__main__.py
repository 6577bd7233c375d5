"""`python -m harness`, the same as `harness`."""

from harness.cli import main

main()
