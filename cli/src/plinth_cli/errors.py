"""Errors that a person can act on."""

from __future__ import annotations


class PlatformError(Exception):
    """Something that `plinth` cannot do. The message says what happened and what to do about it."""
