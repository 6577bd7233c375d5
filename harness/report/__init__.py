"""The report: one HTML file that opens from disk, and a page per submission."""

from harness.report.scene import View
from harness.report.write import write_report

__all__ = ["View", "write_report"]
