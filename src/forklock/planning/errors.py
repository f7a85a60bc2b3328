"""What keeps a plan from being made."""

from __future__ import annotations

from forklock.errors import ForklockError


class PlanError(ForklockError):
    """Something that the plan needs is not known; the message says which key of the recipe would say it."""
