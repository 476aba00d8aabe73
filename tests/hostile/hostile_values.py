"""What a hostile client sends: bodies that are nearly right, bytes that are nothing, requests with tricks.

Deterministic by seed. A body begins as a right one at the edges of what is allowed and is then spoilt in no
way, in one or in several, so that all that stands behind the parser is met too.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Json = bytes
Header = tuple[bytes, bytes]
Fields = Mapping[str, Sequence[Json]]
"""A field's right values, as JSON."""

_IDS = [
    b'"%s"' % text for text in (b"a", b"~", b"!", b"tx/..", b"%00", b"';drop/**/table/**/labels;--", b"0")
]
_IDS += [b'"' + b"x" * 64 + b'"', b'"\\u0041"', *(b'"id-%d"' % n for n in range(200))]
_TIMES = [
    b'"%s"' % text
    for text in (
        b"2018-08-22T10:30:00Z",
        b"2026-02-28T23:59:59.999999999Z",
        b"2024-02-29t00:00:00z",
        b"1970-01-01T14:00:00+14:00",
        b"2025-12-31T09:59:59.999999-14:00",
        b"2018-08-22 10:30:00+00:00",
    )
]

TRANSACTION: Fields = {
    "transaction_id": [*_IDS, *(b'"tx-%d"' % n for n in range(100_000))],
    "customer_id": _IDS,
    "terminal_id": _IDS,
    "amount_minor": [b"0", b"1", b"999999999999", b"1000000000000", b"81200", b"5716"],
    "currency": [b'"EUR"', b'"XTS"'],
    "event_ts": _TIMES,
    "latitude": [b"null", b"0", b"-0.0", b"90", b"-90.0", b"89.99999999999999", b"5e-324", b"48.1"],
    "longitude": [b"null", b"180", b"-180.0", b"0.0", b"179.99999999999997", b"-5e-324", b"11.5"],
    "merchant_category": [b"null", b'"0000"', b'"5411"'],
}
DECISION: Fields = {
    "decision_id": TRANSACTION["transaction_id"],
    **{name: TRANSACTION[name] for name in ("transaction_id", "customer_id", "terminal_id", "amount_minor")},
    "event_ts": _TIMES,
    "outcome": [b'"approve"', b'"monitor"', b'"step_up"', b'"block"'],
    "score": [b"0", b"1.0", b"5e-324", b"0.5"],
    "rule_score": [b"0", b"1.0"],
    "reasons": [b"[]", b'["high_amount"]', b"[" + b'"r",' * 500 + b'"r"]'],
    "let_through": [b"true", b"false"],
    "propensity": [b"0", b"1", b"0.25"],
    "policy": [b'""', b'"1"'],
    "degraded": [b"[]", b'["features"]'],
}
LABEL_EVENT: Fields = {
    "label_id": TRANSACTION["transaction_id"],
    "request_id": _IDS,
    "entity_id": _IDS,
    "prediction_id": [b"null", *_IDS],
    "entities": [
        b"{}",
        b'{"terminal":"t","customer":"c"}',
        b'{"terminal":"id-3"}',
        b'{"\\u0000":"x","":"y"}',
    ],
    "event_ts": _TIMES,
    "known_ts": _TIMES,
    "label": [b"0", b"1", b"1.0", b"-1e12", b"1e12", b"0.5", b"5e-324"],
    "previous_label": [b"null", b"0.0", b"1", b"1e12"],
    "source": [b'"chargeback"', b'"analyst"', b'"silence"'],
}
UPDATE: Fields = {
    "view": [b'"customer_transactions"', b'"terminal_labels"'],
    "entity": _IDS,
    "event_id": [b"1", b"9223372036854775807", b"-9223372036854775808", b"0"],
    "ts_ms": [b"0", b"1534933800000", b"1534933800001", b"-1"],
    "weight": [b"0", b"1", b"-9223372036854775808"],
    "values": [
        b"[0,0]",
        b"[1,1]",
        b"[9223372036854775807]",
        b"[1,2,3,4,5]",
        b"[1000000000000,1,90000000,-180000000,1]",
    ],
    "source_partition": [b"0", b"5", b"1"],
    "source_offset": [b"0", b"1", b"9223372036854775807"],
}
LABEL_BODY: Fields = {
    "transaction_id": _IDS,
    "label": [b"true", b"false"],
    "source": [b'"analyst"', b'"chargeback"'],
    "observed_at": _TIMES,
}
ACT_BODIES: Mapping[str, Fields] = {
    "assign": {"assignee": [b'"ana"', b"null"], "version": [b"null", b"1", b"999999999"]},
    "notes": {"text": [b'"seen"', b'"\\u0001\\uffff"'], "version": [b"null", b"1"]},
    "escalate": {"reason": [b'"why not"'], "version": [b"null", b"2"]},
    "resolve": {
        "resolution": [b'"fraud"', b'"genuine"'],
        "transactions": [
            b"{}",
            b'{"id-1":true}',
            b"{" + b",".join(b'"k%d":true' % n for n in range(1200)) + b"}",
        ],
        "note": [b"null", b'"done"'],
    },
    "reopen": {"reason": [b'"again"'], "version": [b"null", b"1"]},
}

_WRONG: Sequence[Json] = (
    *(
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b"NaN",
        b"-Infinity",
        b"1e308",
        b"-1e308",
        b"1e400",
        b"-1",
        b"-0",
    ),
    *(b"0.1", b"01", b"1e3", b"9" * 400, b"9" * 5_000, b"18446744073709551616", b"-9223372036854775809"),
    *(
        b'"\\u0000"',
        b'"a\\u0000b"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"a\\n"',
        b'"EUR\\n"',
        b'"\\u2028"',
        b'" "',
    ),
    *(b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"\xf4\x90\x80\x80"', '"Straße 😀"'.encode()),
    *(b'"' + b"x" * 65 + b'"', b'"' + b"y" * 20_000 + b'"', b'["a"]', b'{"a":{"b":[]}}', b"1" + b"0" * 30),
    *(
        b'"2199-12-31T09:59:59.999999-14:00"',
        b'"0001-01-01T00:00:00+23:59"',
        b'"9999-12-31T23:59:59.999999-23:59"',
        b'"2018-08-22T10:30:00"',
    ),
    *(
        b'"2018-08-22T10:30:00+23:59"',
        b'"2018-08-22T10:30:00-14:01"',
        b'"2018-08-22T10:30:00+16:00"',
        b'"1970-01-01T00:00:00+14:00"',
    ),
    *(
        b'"2018-13-01T00:00:00Z"',
        b'"2018-08-22T24:00:00Z"',
        b'"1969-12-31T23:59:59Z"',
        b'"2018-08-22T10:30:60Z"',
    ),
    *(b"1534933800", b"9223372036854775807", b"1e20", b'"12"', b"90.0000001", b"-180.1", b"\xef\xbb\xbf1"),
)
_PATHS = (
    *(
        b"/v1/decisions",
        b"/v1/decisions/batch",
        b"/v1/decisions/id-1",
        b"/v1/decisions/%00",
        b"/v1/decisions//",
    ),
    *(
        b"/v1/decisions/..%2f..%2fetc",
        b"/v1/decisions/%ff%fe",
        b"/v1/decisions/" + b"a" * 3_000,
        b"//v1/decisions",
    ),
    *(
        b"/v1/labels",
        b"/v1/labels/",
        b"/v1/cases",
        b"/v1/cases/summary",
        b"/v1/cases/%E2%98%83",
        b"/v1/cases/a/b/c",
    ),
    *(b"/v1/cases/case-1", b"/v1/cases/case-2/assign", b"/livez", b"/readyz", b"/metrics", b"/docs", b"/"),
    *(
        b"/openapi.json",
        b"/v1/../metrics",
        b"/v1/decisions;x=1",
        b"/redoc",
        b"/docs/oauth2-redirect",
        b"/%2e%2e/",
    ),
)
_QUERIES = (
    *(
        b"",
        b"status=open",
        b"status=nope",
        b"tier=3",
        b"tier=0",
        b"tier=1e1",
        b"limit=0",
        b"limit=200",
        b"limit=-1",
    ),
    *(
        b"limit=99999999999999999999",
        b"assignee=%00",
        b"customer_id=id-1",
        b"customer_id=",
        b"customer_id=%ff",
    ),
    *(
        b"overdue=true",
        b"overdue=7",
        b"cursor=",
        b"cursor=%00",
        b"cursor=W10",
        b"cursor=!!!!",
        b"cursor=" + b"W" * 300,
    ),
    b"cursor=WzEsIjAwMDEtMDEtMDFUMDA6MDA6MDArMjM6NTkiLCJhIl0",  # [1,"0001-01-01T00:00:00+23:59","a"]
    b"cursor=WzMsIjk5OTktMTItMzFUMjM6NTk6NTktMjM6NTkiLCJhIl0",  # [3,"9999-12-31T23:59:59-23:59","a"]
    *(b"cursor=" + b"W1tb" * 60, b"a=1&a=2&a", b"=&&=", b"%zz", b"\xff=\xff", b"status=open&status=resolved"),
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PURGE")
_TRACKS: Sequence[Header] = (
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"traceparent", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01"),
    (b"traceparent", b"\xff" * 55),
    (b"traceparent", b"ff" * 4_000),
    (b"content-length", b"0"),
    (b"content-length", b"-1"),
    (b"content-length", b"99999999999"),
    (b"content-length", b"9" * 5_000),
    (b"content-length", b"\xb2"),
    (b"transfer-encoding", b"chunked, chunked"),
    (b"content-encoding", b"gzip"),
    (b"content-type", b"text/plain; charset=utf-16"),
    (b"content-type", b"multipart/form-data; boundary=x"),
    (b"content-type", b"application/x-www-form-urlencoded"),
    (b"content-type", b""),
    (b"expect", b"100-continue"),
    (b"authorization", b"Bearer"),
    (b"authorization", b"Basic \xff\xff"),
    (b"x-api-key", b""),
    (b"x-api-key", b"\x00\xff"),
    (b"x-forwarded-for", b"a" * 8_000),
    (b"host", b"\xff"),
    (b"upgrade", b"websocket"),
    (b"range", b"bytes=0-0,-1"),
    (b"accept", b"\xff/\xff"),
    (b"origin", b"null"),
    (b"cookie", b"=;" * 2_000),
)


class Call(NamedTuple):
    """A request as an ASGI server hands it over; `role` is whose key it carries, empty for none."""

    method: str
    path: bytes
    query: bytes
    headers: list[Header]
    role: str
    body: bytes


class Hostile:
    """Everything that a seed makes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def body(self, fields: Fields, *, spoilt: float = 0.6) -> bytes:
        """An object of these fields; spoilt with that probability."""
        pick, chance = self._random.choice, self._random.random
        parts = [(name.encode(), pick(values)) for name, values in fields.items()]
        if chance() >= spoilt:
            return _object(parts)
        for _ in range(self._random.choice((1, 1, 1, 2, 4))):
            at, way = self._random.randrange(len(parts)), self._random.randrange(6)
            if way <= 2:
                parts[at] = (parts[at][0], pick(_WRONG))
            elif way == 3:
                parts.append((parts[at][0], pick(_WRONG)))  # a name twice: the last one counts
            elif way == 4:
                parts.append((pick((b"unknown", b"\\u0000", b"\xff", b"")), self._deep()))
            elif len(parts) > 1:
                del parts[at]
        whole = _object(parts)
        return self._torn(whole) if chance() < 0.2 else whole

    def call(self, case_ids: Sequence[str] = ()) -> Call:
        """A request to anywhere."""
        pick, chance = self._random.choice, self._random.random
        method, path, body = self._aim(case_ids)
        if chance() < 0.05:
            method = pick(METHODS)
        role = pick(("operator", "operator", "approver", "admin", "admin", "viewer", ""))
        headers = [(b"content-type", b"application/json")] if chance() < 0.9 else []
        headers += self._random.sample(_TRACKS, pick((0, 0, 0, 1, 2)))
        query = pick(_QUERIES) if path.startswith(b"/v1/cases") or chance() < 0.05 else b""
        return Call(method, path, query, headers, role, body)

    def _aim(self, case_ids: Sequence[str]) -> tuple[str, bytes, bytes]:
        pick = self._random.choice
        target = self._random.randrange(20)
        if target < 9:
            return "POST", b"/v1/decisions", self.body(TRANSACTION)
        if target < 11:
            some = [self.body(TRANSACTION, spoilt=0.05) for _ in range(pick((0, 1, 3, 20)))]
            return "POST", b"/v1/decisions/batch", b'{"transactions":[' + b",".join(some) + b"]}"
        if target < 12:
            return "POST", b"/v1/labels", self.body(LABEL_BODY)
        if target < 14:
            act, case = pick(list(ACT_BODIES)), pick(case_ids or ["case-1"])
            return "POST", f"/v1/cases/{case}/{act}".encode(), self.body(ACT_BODIES[act], spoilt=0.4)
        return (
            pick(("GET", "GET", "POST")),
            pick(_PATHS),
            pick((b"", b"{}", self.body(TRANSACTION), self.noise())),
        )

    def noise(self) -> bytes:
        """Bytes that mean nothing, or a body nested as deep as it is long."""
        if self._random.random() < 0.1:
            return self._random.choice((b"[", b'{"a":', b"[{")) * self._random.choice((10, 2_000, 50_000))
        return self._random.randbytes(self._random.choice((0, 1, 7, 300)))

    def _deep(self) -> bytes:
        depth = self._random.choice((1, 30, 500, 3_000, 50_000))
        return b"[" * depth + b"]" * depth if self._random.random() < 0.3 else self._random.choice(_WRONG)

    def _torn(self, whole: bytes) -> bytes:
        at = self._random.randrange(len(whole))
        way = self._random.randrange(5)
        if way == 0:
            return whole[:at]
        if way == 1:
            return whole[:at] + self._random.randbytes(1) + whole[at + 1 :]
        if way == 2:
            return b"\xef\xbb\xbf" + whole
        if way == 3:
            return b"[" + whole + b"]"
        return whole + self._random.choice((b"\n", b"\x00", b"{}", whole))


def _object(parts: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"{" + b",".join(b'"' + name + b'":' + value for name, value in parts) + b"}"
