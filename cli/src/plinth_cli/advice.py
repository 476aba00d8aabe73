"""What a person can do about what processes lack."""

from __future__ import annotations

from collections.abc import Sequence

from plinth_cli.platform import Status

TRAIN = (
    "no model that can be served: train one with `plinth train fraud`, or see everything with `plinth demo`"
)

RESTLESS = 3
"""Restarts from which on a process that is not ready is said to end again and again."""

_NO_MODEL = ("no version of", "was trained on features")
_NO_SCHEMA = "schema is not there yet"
_RECORDER = "fraud-scorer-recorder"


def advice(statuses: Sequence[Status]) -> list[str]:
    """A line for each thing that a command mends, the most useful first; none where nothing is amiss."""
    stopped = [status.name for status in statuses if status.state == "stopped"]
    if len(stopped) == len(statuses):
        return ["the platform does not run: start it with `plinth up`"]
    lines = [
        f"{name} failed: `plinth logs {name}` says why, `plinth restart {name}` tries again"
        for name in (status.name for status in statuses if status.state == "failed")
    ]
    lines += [
        f"{status.name} ends again and again: `plinth logs {status.name}` says why"
        for status in statuses
        if not status.ready and status.pid and status.restarts >= RESTLESS
    ]
    if stopped:
        lines.append(f"stopped: start with `plinth up {' '.join(stopped)}`")
    if any(_NO_SCHEMA in status.lacks for status in statuses) and _RECORDER not in stopped:
        lines.append(
            f"the database has no tables yet: {_RECORDER} makes them, `plinth logs {_RECORDER}` says more"
        )
    if any(said in status.lacks for status in statuses for said in _NO_MODEL):
        lines.append(TRAIN)
    return lines
