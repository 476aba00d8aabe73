"""When to commit: a policy as a value, a state without a clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommitState:
    """`since`: seconds at the last commit (or start); `pending`: messages processed since."""

    since: float
    pending: int = 0

    def after(self, messages: int) -> CommitState:
        """The state once `messages` more were processed."""
        return CommitState(self.since, self.pending + messages)


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """Commit what is pending after `every_seconds` or `every_messages`, whichever comes first.

    Both bound how much is processed again after a crash.
    """

    every_seconds: float
    every_messages: int

    def due(self, state: CommitState, now: float) -> bool:
        """Whether to commit at `now` (seconds, same clock as `state.since`). Never with nothing pending."""
        if state.pending == 0:
            return False
        return state.pending >= self.every_messages or now - state.since >= self.every_seconds


IMMEDIATE = CommitPolicy(every_seconds=0.0, every_messages=1)
ONCE_PER_SECOND = CommitPolicy(every_seconds=1.0, every_messages=100_000)
