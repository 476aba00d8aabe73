"""State in Redis: feature rows of the feature store (read only) and the decisions made so far."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import cast

import msgspec
import redis
from msgspec.structs import replace

from fraud_scorer.core.decision import Decision, decode, encode
from fraud_scorer.service import Snapshot, StateAway
from plinth_features.packing import Damaged
from plinth_features.rows import Layout
from plinth_features.spec import FeatureService
from plinth_features.store import decode as decode_rows
from plinth_features.store import keys

_LOG = logging.getLogger(__name__)

# KEYS: decisions. ARGV: time to live in seconds, then a decision per key. Returns what stood before or false.
_CLAIM = """
local standing = {}
for i, key in ipairs(KEYS) do
  if redis.call('SET', key, ARGV[i + 1], 'NX', 'EX', ARGV[1]) then
    standing[i] = false
  else
    local found = redis.pcall('GET', key)
    standing[i] = type(found) == 'string' and found or ''
  end
end
return standing
"""

# KEYS: decisions. ARGV: each one anew, where it still stands, for as long as it had.
_REPLACE = """
for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i], 'XX', 'KEEPTTL') end
"""

RETRY_SECONDS = 0.5
"""So long after a failure Redis is not asked again: waiting for it would make every answer late."""


def _key(transaction_id: str) -> bytes:
    return b"decision:2:" + transaction_id.encode()  # 2: how a decision is encoded


def _decision(value: bytes | None) -> Decision | None:
    """A decision as it stands in Redis; what is damaged counts as none, and the same is decided again."""
    try:
        return None if value is None else decode(value)
    except msgspec.DecodeError as error:
        _LOG.error("a remembered decision is damaged: %s", error)
        return None


class RedisState:
    """See service.State. `clock` counts seconds."""

    def __init__(
        self,
        client: redis.Redis,
        features: FeatureService,
        ttl_s: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._layouts = {view.name: Layout(view) for view in features.views}
        self._ttl_s = ttl_s
        self._clock = clock
        self._away_until = -1.0
        self._claim, self._replace = client.register_script(_CLAIM), client.register_script(_REPLACE)

    def read(self, entities: Mapping[str, Sequence[str]], transactions: Sequence[str]) -> Snapshot:
        """See State.read; one MGET."""
        groups = [keys(self._layouts[view], names) for view, names in entities.items()]
        groups.append([_key(name) for name in transactions])
        with self._reaching():
            values = cast(list[bytes | None], self._client.mget([key for group in groups for key in group]))
        cuts = [0]
        for group in groups:
            cuts.append(cuts[-1] + len(group))
        parts = [values[start:stop] for start, stop in pairwise(cuts)]
        try:
            rows = {
                view: decode_rows(self._layouts[view], part)
                for view, part in zip(entities, parts[:-1], strict=True)
            }
        except Damaged as damaged:
            _LOG.error("features are no use until the engine has rebuilt them: %s", damaged)
            raise StateAway from damaged
        return Snapshot(rows, [_decision(value) for value in parts[-1]])

    def claim(self, decisions: Sequence[Decision]) -> list[Decision]:
        """See State.claim; one script call."""
        if not decisions:
            return []
        names = [_key(d.transaction_id) for d in decisions]
        with self._reaching():
            standing = cast(
                list[bytes | None],
                self._claim(keys=names, args=[self._ttl_s, *[encode(d) for d in decisions]]),
            )
        return [_decision(found) or mine for mine, found in zip(decisions, standing, strict=True)]

    def remember_logged(self, decisions: Sequence[Decision]) -> None:
        """See State.remember_logged; one script call."""
        if not decisions:
            return
        names = [_key(d.transaction_id) for d in decisions]
        with suppress(StateAway), self._reaching():
            self._replace(keys=names, args=[encode(replace(d, logged=True)) for d in decisions])

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        if self._clock() < self._away_until:
            raise StateAway
        try:
            yield
        except redis.RedisError as error:
            self._away_until = self._clock() + RETRY_SECONDS
            raise StateAway from error
