"""The report: one HTML file that opens from disk, and a page per submission."""

from harness.report.write import View, write_report

__all__ = ["View", "write_report"]
