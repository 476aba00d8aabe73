"""Schemas, examples and topics agree, and a change that a consumer could not read is noticed."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from plinth_contracts import codec, schema, topics
from plinth_contracts.events import EVENT_TYPES
from plinth_contracts.topics import TopicSpec

EXAMPLES = sorted((Path(str(files("plinth_contracts"))) / "examples").glob("*/*.json"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_an_example_fits_its_schema_and_survives_a_round_trip(path: Path) -> None:
    topic, raw = path.parent.name, path.read_bytes()
    jsonschema.validate(json.loads(raw), schema.committed()[topic])
    event = codec.decoder(EVENT_TYPES[topic])(raw)
    assert codec.decoder(EVENT_TYPES[topic])(codec.encode(event)) == event


def test_headers_are_cloudevents() -> None:
    time = datetime(2018, 8, 22, 9, 30, tzinfo=UTC)
    trace = [("traceparent", b"00-1-2-01")]
    headers = codec.headers("decision.made", event_id="d-1", source="scorer", time=time, extra=trace)
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_type": b"decision.made",
        "ce_source": b"scorer",
        "content-type": b"application/json",
        "ce_id": b"d-1",
        "ce_time": b"2018-08-22T09:30:00+00:00",
        "traceparent": b"00-1-2-01",
    }


def test_every_topic_has_a_type_a_schema_and_an_example() -> None:
    names = {spec.name for spec in topics.load()}
    assert names == set(EVENT_TYPES) == set(schema.committed()) == {p.parent.name for p in EXAMPLES}


def test_the_key_of_a_topic_is_a_field_of_its_event() -> None:
    for spec in topics.load():
        assert spec.key in EVENT_TYPES[spec.name].__struct_fields__


def test_committed_schemas_are_up_to_date() -> None:
    assert schema.generate() == schema.committed()


@pytest.fixture
def transaction() -> schema.Schema:
    return copy.deepcopy(schema.committed()["transaction.received"])


def test_a_new_optional_field_breaks_nobody(transaction: schema.Schema) -> None:
    new = copy.deepcopy(transaction)
    new["$defs"]["TransactionReceived"]["properties"]["channel"] = {"type": "string", "default": ""}
    assert schema.breaks(transaction, new) == []


def test_a_field_removed_loosened_or_retyped_breaks_a_consumer(transaction: schema.Schema) -> None:
    new = copy.deepcopy(transaction)
    struct = new["$defs"]["TransactionReceived"]
    del struct["properties"]["terminal_id"]
    struct["required"].remove("customer_id")
    struct["properties"]["amount_minor"]["type"] = "number"
    struct["properties"]["latitude"]["anyOf"][0]["exclusiveMinimum"] = -90
    struct["properties"]["event_ts"]["maxLength"] = 10
    struct["properties"]["currency"]["description"] = "said in other words"
    found = [reason for reason in schema.breaks(transaction, new) if "latitude" not in reason]
    assert len(found) == len(schema.breaks(transaction, new)) - 1
    assert found == [
        "amount_minor: type was 'integer', is 'number'",
        "customer_id: no longer always present",
        "event_ts: maxLength was None, is 10",
        "terminal_id: removed",
    ]


def _transaction(**fields: str) -> bytes:
    right = {"transaction_id": '"a"', "customer_id": '"c"', "terminal_id": '"t"', "amount_minor": "1"}
    right["event_ts"] = '"2018-08-22T10:30:00Z"'
    text = ",".join(f'"{name}":{value}' for name, value in (right | fields).items())
    return ("{" + text + "}").encode(errors="surrogateescape")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"transaction_id": '"a\\n"'}, r"`\$.transaction_id`"),
        ({"currency": '"EUR\\n"'}, r"`\$.currency`"),
        ({"event_ts": '"0001-01-01T00:00:00+14:00"'}, "`event_ts` must lie in the years 1970 to 2199, UTC"),
        ({"event_ts": '"1970-01-01T00:00:00+00:01"'}, "`event_ts` must lie in the years 1970 to 2199, UTC"),
        ({"event_ts": '"9999-12-31T23:59:59-14:00"'}, "`event_ts` must lie in the years 1970 to 2199, UTC"),
        ({"event_ts": '"2018-08-22T10:30:00+16:00"'}, "`event_ts` must have a zone within 14:00:00 of UTC"),
        ({"unknown": "[" * 100_000}, "JSON is malformed: maximum recursion depth"),
        ({"transaction_id": '"\udcff"'}, "JSON is malformed: 'utf-8' codec can't decode"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_no_reader_could_use_is_refused_as_such(fields: dict[str, str], reason: str) -> None:
    read = codec.decoder(EVENT_TYPES["transaction.received"])
    assert read(_transaction(event_ts='"2018-08-22T10:30:00+14:00"'))
    with pytest.raises(msgspec.DecodeError, match=reason):
        read(_transaction(**fields))


@pytest.mark.parametrize(
    ("hours", "kept_ms", "dead_ms"),
    [(1, 3_600_000, 2_592_000_000), (1440, 5_184_000_000, 5_184_000_000), (-1, -1, -1)],
)
def test_every_topic_has_one_of_dead_letters_kept_at_least_30_days(
    hours: int, kept_ms: int, dead_ms: int
) -> None:
    about: dict[str, Any] = {"description": "d", "key": "id", "producers": (), "consumers": (), "owner": "o"}
    spec = TopicSpec(name="a.b", partitions=6, retention_hours=hours, cleanup_policy="compact", **about)
    assert spec.wanted == (
        ("a.b", 6, {"cleanup.policy": "compact", "retention.ms": str(kept_ms)}),
        ("a.b.dlq", 1, {"cleanup.policy": "delete", "retention.ms": str(dead_ms)}),
    )
