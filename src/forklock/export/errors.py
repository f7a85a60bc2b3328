"""What keeps a run from being exported, in words for the one who asks for it."""

from forklock.errors import ForklockError


class ExportError(ForklockError):
    """Nothing was exported, or it was not pushed."""
