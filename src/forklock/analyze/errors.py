"""What a user can mend about an analysis."""

from forklock.errors import ForklockError


class AnalysisError(ForklockError):
    """Nothing to measure on, or contexts that cannot be read."""
