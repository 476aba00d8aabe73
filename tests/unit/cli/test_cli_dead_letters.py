"""What a dead letter is when it goes back."""

from __future__ import annotations

from types import SimpleNamespace

from plinth_cli.dead_letters import read


def test_a_dead_letter_loses_its_own_headers_and_nothing_else() -> None:
    headers = [
        ("ce_id", b"1"),
        ("plinth_dlq_topic", b"a.b"),
        ("ce_id", b"\xff"),
        ("plinth_dlq_partition", b"3"),
        ("plinth_dlq_offset", b"41"),
        ("plinth_dlq_reason", b"not JSON"),
        ("empty", None),
    ]
    letter = read(7, SimpleNamespace(headers=headers, key=b"k", value=b"\x00\xff"), "a.b")
    assert letter.headers == (("ce_id", b"1"), ("ce_id", b"\xff"), ("empty", None))
    assert (letter.position, letter.topic, letter.partition, letter.offset) == (7, "a.b", 3, "41")
    assert (letter.key, letter.value, letter.reason) == (b"k", b"\x00\xff", "not JSON")


def test_a_dead_letter_without_origin_goes_where_it_was_asked_for() -> None:
    letter = read(0, SimpleNamespace(headers=[], key=None, value=None), "a.b")
    assert (letter.topic, letter.partition, letter.reason) == ("a.b", None, "unknown")
