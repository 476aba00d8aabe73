import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plinth_kit import tracing
from plinth_kit.tracing import TraceContext

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

hex_ids = st.binary(min_size=16, max_size=16).filter(any).map(bytes.hex)
span_ids = st.binary(min_size=8, max_size=8).filter(any).map(bytes.hex)


def test_the_example_of_the_specification() -> None:
    context = tracing.parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")

    assert context == TraceContext(TRACE_ID, SPAN_ID, sampled=True)
    assert tracing.header(context) == ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01".encode())


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)]
)
def test_only_the_lowest_bit_of_the_flags_means_sampled(flags: str, sampled: bool) -> None:
    context = tracing.parse(f"00-{TRACE_ID}-{SPAN_ID}-{flags}".encode())

    assert context is not None
    assert context.sampled is sampled


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"01-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID}-{SPAN_ID}-01\n",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID[:-1]}g-{SPAN_ID}-01",
        b"\xff\xfe",
    ],
)
def test_what_breaks_the_rules_is_no_context(text: str | bytes | None) -> None:
    assert tracing.parse(text) is None


@given(hex_ids, span_ids, st.booleans())
def test_format_and_parse_are_inverse(trace_id: str, span_id: str, sampled: bool) -> None:
    context = TraceContext(trace_id, span_id, sampled)

    assert tracing.parse(context.format()) == context


@given(st.text(alphabet="0123456789abcdefABCDEF-g\n", max_size=60) | st.binary(max_size=60))
def test_parse_never_raises_and_accepts_only_the_grammar(text: str | bytes) -> None:
    plain = text.decode("latin-1") if isinstance(text, bytes) else text
    grammar = re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", plain)

    assert tracing.parse(text) is None or grammar is not None


@given(st.integers(0, 2**32))
def test_new_and_child_follow_the_generator(seed: int) -> None:
    root = tracing.new(np.random.default_rng(seed))
    child = root.child(np.random.default_rng(seed))

    assert root == tracing.new(np.random.default_rng(seed))
    assert tracing.parse(root.format()) == root
    assert child.trace_id == root.trace_id
    assert child.span_id != root.span_id


def test_ids_are_never_all_zero() -> None:
    class Zeros:
        def bytes(self, length: int, /) -> bytes:
            return b"\0" * length

    assert tracing.parse(tracing.new(Zeros()).format()) is not None


def test_a_message_passes_on_one_trace_header_and_nothing_of_another_size() -> None:
    good = ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01".encode())
    assert tracing.passed_on([("ce_id", b"1"), ("traceparent", b"x" * 900_000), good, good]) == [good]
