"""What is wrong with a source, a row or a template."""

from __future__ import annotations

from forklock.errors import ForklockError


class PromptsError(ForklockError):
    """Prompts cannot be read or rendered; the message names the file, the field and the mend."""
