"""State in Redis: feature rows of the feature store (read only) and the decisions made so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

import redis

from fraud_scorer.core.decision import Decision, decode, encode
from fraud_scorer.service import Snapshot
from plinth_features.rows import Layout
from plinth_features.spec import FeatureService
from plinth_features.store import decode as decode_rows
from plinth_features.store import keys

# KEYS: decisions. ARGV: time to live in seconds, then a decision per key. Returns what stood before or false.
_CLAIM = """
local standing = {}
for i, key in ipairs(KEYS) do
  local found = redis.call('GET', key)
  if not found then redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1]) end
  standing[i] = found
end
return standing
"""


def _key(transaction_id: str) -> bytes:
    return b"decision:" + transaction_id.encode()


class RedisState:
    """See service.State. Redis errors pass through as `redis.RedisError`."""

    def __init__(self, client: redis.Redis, features: FeatureService, ttl_s: int) -> None:
        self._client = client
        self._layouts = {view.name: Layout(view) for view in features.views}
        self._ttl_s = ttl_s
        self._claim = client.register_script(_CLAIM)

    def read(self, entities: Mapping[str, Sequence[str]], transactions: Sequence[str]) -> Snapshot:
        """See State.read; one MGET."""
        groups = [keys(self._layouts[view], names) for view, names in entities.items()]
        groups.append([_key(name) for name in transactions])
        values = cast(list[bytes | None], self._client.mget([key for group in groups for key in group]))
        cuts = [0]
        for group in groups:
            cuts.append(cuts[-1] + len(group))
        parts = [values[start:stop] for start, stop in pairwise(cuts)]
        rows = {
            view: decode_rows(self._layouts[view], part)
            for view, part in zip(entities, parts[:-1], strict=True)
        }
        return Snapshot(rows, [None if value is None else decode(value) for value in parts[-1]])

    def claim(self, decisions: Sequence[Decision]) -> list[Decision]:
        """See State.claim; one script call."""
        if not decisions:
            return []
        standing = cast(
            list[bytes | None],
            self._claim(
                keys=[_key(d.transaction_id) for d in decisions],
                args=[self._ttl_s, *(encode(d) for d in decisions)],
            ),
        )
        return [
            mine if found is None else decode(found) for mine, found in zip(decisions, standing, strict=True)
        ]
