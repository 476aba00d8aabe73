"""How a label is named."""

from __future__ import annotations

import hashlib


def label_id(*said: object) -> str:
    """A name made of what was said: the same statement said again has it too, so that it counts once."""
    words = "|".join(str(word) for word in said)
    return "label-" + hashlib.sha256(words.encode()).hexdigest()[:24]
