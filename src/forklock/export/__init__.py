"""What a run made, for other tools: its samples in the formats of other trainers, and its model."""

from forklock.export.errors import ExportError
from forklock.export.formats import Format
from forklock.export.model import export_model, push_model
from forklock.export.samples import ExportCounts, export_samples

__all__ = ["ExportCounts", "ExportError", "Format", "export_model", "export_samples", "push_model"]
