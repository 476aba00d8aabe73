import json
import subprocess
import sys

import msgspec
import pytest

from plinth_kit import problems, tracing
from plinth_kit.problems import FieldError, Problem, from_validation_error, problem_response


class Transaction(msgspec.Struct):
    amount_minor: int


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    transactions: list[Transaction]
    labels: dict[str, int] = {}


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (
            b'{"transactions":[{"amount_minor":1},{"amount_minor":"a"}]}',
            "transactions[1].amount_minor",
            "Expected `int`, got `str`",
        ),
        (b'{"transactions":[{}]}', "transactions[0].amount_minor", "required field is missing"),
        (b"{}", "transactions", "required field is missing"),
        (b'{"transactions":[],"x":1}', "x", "unknown field"),
        (b'{"transactions":3}', "transactions", "Expected `array`, got `int`"),
        (b'{"transactions":[],"labels":{"a":"b"}}', "labels[...]", "Expected `int`, got `str`"),
        (b"[]", "$", "Expected `object`, got `array`"),
    ],
)
def test_a_validation_error_names_the_field(body: bytes, field: str, message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=Batch)

    problem = from_validation_error(caught.value)

    assert problem.status == 422
    assert problem.errors == (FieldError(field, message),)


def test_a_bad_key_of_a_map_names_the_map() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(b'{"m":{"a":1}}', type=dict[str, dict[int, int]])

    assert from_validation_error(caught.value).errors[0].field == "[...]"


def test_a_body_that_is_not_json_is_a_400() -> None:
    with pytest.raises(Problem) as caught:
        problems.decode(msgspec.json.Decoder(Batch).decode, b'{"transactions":')

    assert caught.value.status == 400


def test_decode_passes_a_good_body() -> None:
    assert problems.decode(msgspec.json.Decoder(Batch).decode, b'{"transactions":[]}') == Batch([])


def test_the_answer_is_a_problem_document_with_the_trace() -> None:
    token = tracing.current.set(tracing.TraceContext("a" * 32, "b" * 16))
    try:
        response = problem_response(
            Problem(409, "Version changed", "read it again", [FieldError("etag", "old")]), instance="/v1/x"
        )
    finally:
        tracing.current.reset(token)

    assert (response.status, response.content_type) == (409, "application/problem+json")
    assert json.loads(response.body) == {
        "type": "about:blank",
        "title": "Version changed",
        "status": 409,
        "detail": "read it again",
        "instance": "/v1/x",
        "errors": [{"field": "etag", "message": "old"}],
        "trace_id": "a" * 32,
    }


def test_what_is_empty_is_left_out_and_the_title_defaults_to_the_phrase() -> None:
    assert json.loads(problem_response(Problem(404)).body) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
    }


def test_problems_import_no_web_framework() -> None:
    code = "import sys, plinth_kit.problems; print({'fastapi', 'starlette', 'uvicorn'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


class Dated(msgspec.Struct):
    when: int

    def __post_init__(self) -> None:
        if self.when < 0:
            raise ValueError("`when` must not be negative")


def test_what_a_struct_says_of_its_own_field_names_that_field() -> None:
    with pytest.raises(Problem) as caught:
        problems.decode(msgspec.json.Decoder(list[Dated]).decode, b'[{"when":1},{"when":-1}]')
    assert caught.value.errors == (FieldError("[1].when", "must not be negative"),)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"when":"\xff"}', "the body is not UTF-8"),
        (b'{"x":' + b"[" * 100_000, "the body is nested too deeply"),
    ],
    ids=["utf8", "deep"],
)
def test_bytes_that_the_parser_itself_gives_up_on_are_malformed(body: bytes, detail: str) -> None:
    class Named(msgspec.Struct):
        when: str

    with pytest.raises(Problem) as caught:
        problems.decode(msgspec.json.Decoder(Named).decode, body)
    assert (caught.value.status, caught.value.detail) == (400, detail)
