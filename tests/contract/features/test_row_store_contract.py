"""One suite over every store of feature rows: memory and a real Redis."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from plinth_features.packing import Damaged
from plinth_features.rows import Layout
from plinth_features.spec import DAY, Aggregation, View
from plinth_features.store import MemoryRows, RedisRows, RowStore, StateLost, keys, marker
from plinth_features.words import RANK, VERSION, Updates, as_updates

VIEW = View(
    name="spending",
    entity="customer",
    source="transaction.received",
    partitions=2,
    columns=("amount",),
    aggregations=(Aggregation(feature="n", function="count", window_s=DAY),),
)
LAYOUT = Layout(VIEW)
MARK = marker(LAYOUT, "transaction.received", 1)


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> RowStore:
    if request.param == "memory":
        return MemoryRows(LAYOUT)
    return RedisRows(request.getfixturevalue("redis_client"), LAYOUT)


@pytest.fixture
def lose(store: RowStore, request: pytest.FixtureRequest) -> Callable[[], None]:
    """Empties the store."""
    if isinstance(store, MemoryRows):
        return store.clear
    client: redis.Redis = request.getfixturevalue("redis_client")
    return lambda: client.flushall()


def one_event(offset: int) -> Updates:
    return as_updates([(0, offset + 1, 1000, 1, 0, offset, 5)])


def test_an_unknown_entity_has_an_empty_row(store: RowStore) -> None:
    assert store.read(["nobody"]).tobytes() == LAYOUT.empty(1).tobytes()
    assert len(store.read([])) == 0


def test_rows_come_back_in_the_order_asked_for(store: RowStore) -> None:
    rows = LAYOUT.empty(2)
    rows[:, RANK] = [7, 9]
    assert store.write(["a", "b"], rows) == []
    assert store.read(["b", "nobody", "a"])[:, RANK].tolist() == [9, 0, 7]


def test_a_row_that_somebody_else_wrote_meanwhile_is_refused(store: RowStore) -> None:
    mine, theirs = store.read(["a", "b"]), store.read(["a"])
    LAYOUT.fold(theirs, one_event(3))
    assert store.write(["a"], theirs) == []
    mine[:, RANK] = [100, 100]
    assert store.write(["a", "b"], mine) == [0]
    assert store.read(["a", "b"])[:, RANK].tolist() == [1, 100]


def test_a_row_can_be_written_again_after_it_was_read_again(store: RowStore) -> None:
    for offset in range(3):
        rows = store.read(["a"])
        LAYOUT.fold(rows, one_event(offset))
        assert store.write(["a"], rows) == []
    assert store.read(["a"])[:, VERSION].tolist() == [3]
    assert store.read(["a"])[:, RANK].tolist() == [3]


def test_a_lost_store_takes_no_row_until_its_markers_are_put(
    store: RowStore, lose: Callable[[], None]
) -> None:
    store.put_markers([MARK])
    assert store.write(["a"], LAYOUT.empty(1), [MARK]) == []
    assert store.missing([MARK, b"other"]) == [b"other"]
    lose()
    assert store.missing([MARK]) == [MARK]
    with pytest.raises(StateLost):
        store.write(["a"], LAYOUT.empty(1), [MARK])
    assert store.read(["a"])[:, VERSION].tolist() == [0]
    store.put_markers([MARK])
    assert store.write(["a"], LAYOUT.empty(1), [MARK]) == []


def test_rows_in_redis_expire_with_the_views_time_to_live(redis_client: redis.Redis) -> None:
    RedisRows(redis_client, LAYOUT).write(["a"], LAYOUT.empty(1))
    ttl = redis_client.ttl(keys(LAYOUT, ["a"])[0])
    assert VIEW.ttl_s - 60 < ttl <= VIEW.ttl_s


def test_what_is_no_string_in_the_place_of_a_row_gives_way_to_a_rebuilt_row(
    redis_client: redis.Redis,
) -> None:
    store, (key,) = RedisRows(redis_client, LAYOUT), keys(LAYOUT, ["b"])
    store.put_markers([MARK])
    redis_client.rpush(key, "what is this?")
    with pytest.raises(StateLost):
        store.write(["a", "b"], store.read(["a", "b"]), [MARK])
    assert store.missing([MARK]) == [MARK]
    store.put_markers([MARK])
    assert store.write(["a", "b"], store.read(["a", "b"]), [MARK]) == []


def test_another_definition_has_other_keys() -> None:
    changed = View(
        name=VIEW.name,
        entity=VIEW.entity,
        source=VIEW.source,
        partitions=VIEW.partitions,
        columns=VIEW.columns,
        aggregations=(Aggregation(feature="n", function="count", window_s=2 * DAY),),
    )
    assert keys(Layout(changed), ["a"]) != keys(LAYOUT, ["a"])


@pytest.mark.parametrize("found", [b"what is this?", b"8 bytes."])
def test_what_is_no_row_is_told_and_forgotten(
    store: RowStore, found: bytes, request: pytest.FixtureRequest
) -> None:
    assert store.write(["a", "b"], LAYOUT.empty(2)) == []
    store.put_markers([MARK])
    (key,) = keys(LAYOUT, ["b"])
    if isinstance(store, MemoryRows):
        store._rows[key] = found
    else:
        request.getfixturevalue("redis_client").set(key, found)
    with pytest.raises(Damaged) as damaged:
        store.read(["a", "b"])
    assert damaged.value.row == 1
    store.forget(["b"], [MARK])
    assert store.read(["a", "b"])[:, VERSION].tolist() == [1, 0]
    assert store.missing([MARK]) == [MARK]
