"""JSON Schemas of the event types: generated, committed, and checked for breaking changes.

`python -m plinth_contracts.schema` rewrites `schemas/`; it refuses a change that a consumer built against the
committed schema could not read.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from plinth_contracts.events import EVENT_TYPES

Schema = dict[str, Any]


def generate() -> dict[str, Schema]:
    """Schema of every topic, by topic name."""
    schemas = {topic: msgspec.json.schema(event_type) for topic, event_type in EVENT_TYPES.items()}
    return msgspec.json.decode(msgspec.json.encode(schemas), type=dict[str, Schema])


def folder() -> Path:
    """Where the committed schemas lie."""
    return Path(str(files("plinth_contracts"))) / "schemas"


def committed() -> dict[str, Schema]:
    """The schemas that consumers in the field were built against, by topic name."""
    return {p.name.removesuffix(".json"): json.loads(p.read_text()) for p in sorted(folder().glob("*.json"))}


def breaks(old: Schema, new: Schema) -> list[str]:
    """Why a consumer of `old` could fail on data of `new`; empty when it cannot.

    A consumer relies on the fields that are required, and on the type of every field it knows. So a field may
    be added, or become required, but not vanish, become optional, or change its type or range.
    """
    before, after = _struct(old), _struct(new)
    known, offered = before["properties"], after["properties"]
    reasons = [f"{name}: removed" for name in known if name not in offered]
    reasons += [
        f"{name}: no longer always present"
        for name in before.get("required", [])
        if name in offered and name not in after.get("required", [])
    ]
    for name in known.keys() & offered.keys():
        was, now = _undescribed(_resolve(old, known[name])), _undescribed(_resolve(new, offered[name]))
        reasons += [
            f"{name}: {key} was {was.get(key)!r}, is {now.get(key)!r}"
            for key in sorted((was.keys() | now.keys()) - {"default", "title"})
            if was.get(key) != now.get(key)
        ]
    return sorted(reasons)


def _struct(schema: Schema) -> Schema:
    return _resolve(schema, {"$ref": schema["$ref"]})


def _resolve(schema: Schema, node: Schema) -> Schema:
    if "$ref" not in node:
        return node
    resolved: Schema = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return resolved


def _undescribed(node: Any) -> Any:
    """A part of a schema without what it says for people."""
    if isinstance(node, list):
        return [_undescribed(one) for one in node]
    if isinstance(node, dict):
        return {key: _undescribed(value) for key, value in node.items() if key != "description"}
    return node


def main() -> int:
    """Write the schemas unless that would break a consumer; the exit status."""
    old = committed()
    new = generate()
    broken = {topic: found for topic in old.keys() & new.keys() if (found := breaks(old[topic], new[topic]))}
    for topic, reasons in sorted(broken.items()):
        sys.stderr.write(f"{topic}: {'; '.join(reasons)}\n")
    if broken:
        return 1
    for topic, schema in new.items():
        (folder() / f"{topic}.json").write_text(json.dumps(schema, indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
