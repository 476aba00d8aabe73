"""Schemas, examples and topics agree, and a change that a consumer could not read is noticed."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from plinth_contracts import codec, schema, topics
from plinth_contracts.events import EVENT_TYPES

EXAMPLES = sorted((Path(str(files("plinth_contracts"))) / "examples").glob("*/*.json"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_an_example_fits_its_schema_and_survives_a_round_trip(path: Path) -> None:
    topic, raw = path.parent.name, path.read_bytes()
    jsonschema.validate(json.loads(raw), schema.committed()[topic])
    event = codec.decoder(EVENT_TYPES[topic])(raw)
    assert codec.decoder(EVENT_TYPES[topic])(codec.encode(event)) == event


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
    assert schema.breaks(transaction, new) == [
        "amount_minor: type was 'integer', is 'number'",
        "customer_id: no longer always present",
        "terminal_id: removed",
    ]
