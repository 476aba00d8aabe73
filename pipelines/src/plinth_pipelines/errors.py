"""What goes wrong in a way that a person can mend."""

from __future__ import annotations


class PipelineError(Exception):
    """A pipeline cannot go on; the message says why and what to do, a traceback would not."""
