"""The report of a run: one HTML file that opens without a network, and its tables as Markdown and LaTeX."""

from forklock.report.build import REPORT_FILE, Built, build

__all__ = ["REPORT_FILE", "Built", "build"]
