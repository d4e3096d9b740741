"""SQL text of clients, rewritten: both spellings of strings, nulls, dates, and bounds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.errors import InvalidRequestError, LimitExceededError
from meshagent.server.stores.tables.filters import (
    MAX_DEPTH,
    MAX_JUNCTIONS,
    MAX_LENGTH,
    translate_expression,
)
from meshagent.server.stores.tables.filters import (
    translate_filter as translate_whole_filter,
)
from meshagent.server.stores.tables.grammar import ColumnKind
from meshagent.server.stores.tables.sql_tokens import quote_text

TEMPORAL: dict[str, ColumnKind] = {"day": "date", "at": "timestamp", "odd `name": "date"}


def translate_filter(text: str | None, columns: dict[str, ColumnKind] | None = None) -> str | None:
    """The translation without the brackets that are put around it."""
    translated = translate_whole_filter(text, columns)
    assert translated is None or (translated[0], translated[-1]) == ("(", ")")
    return None if translated is None else translated[1:-1]


@pytest.mark.parametrize("blank", [None, "", "  \n "])
def test_blank_text_is_no_filter(blank: str | None) -> None:
    assert translate_filter(blank) is None


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("id = 1", "id = 1"),
        ("true", "true"),
        ('name = "Alice"', "name = 'Alice'"),
        ('name="Alice"', "name='Alice'"),
        ("name = 'Alice'", "name = 'Alice'"),
        ("name = 'it''s \"so\"'", "name = 'it''s \"so\"'"),
        ('name = "it\'s"', "name = 'it''s'"),
        (r'name = "say \"hi\" \\ \u00e9\n"', "name = 'say \"hi\" \\ é\n'"),
        (r'name = "\ud83d\ude00"', "name = '😀'"),
        ('name = "say ""hi"""', "name = 'say \"hi\"'"),
        (r'path = "C:\data"', r"path = 'C:\data'"),
        ('name = ""', "name = ''"),
        ("`my column` = 'x'", "`my column` = 'x'"),
        ("`a\"b` = 'x'", "`a\"b` = 'x'"),
        ('age = null AND name = "x"', "age  IS  null AND name = 'x'"),
        ("age != NULL", "age  IS NOT  NULL"),
        ("age<>null", "age IS NOT null"),
        ("age = null_count", "age = null_count"),
        ("age IS NULL", "age IS NULL"),
        ("id = 1 -- it's one\n AND b", "id = 1  AND b"),
        ('id = /* "why" */ 1', "id =   1"),
        ("name LIKE 'a--b%'", "name LIKE 'a--b%'"),
    ],
)
def test_spellings(given_text: str, expected: str) -> None:
    translated = translate_filter(given_text)
    assert translated is not None
    assert translated.split() == expected.split()


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("day = '2025-01-02'", "day = date '2025-01-02'"),
        ('day = "2025-01-02"', "day = date '2025-01-02'"),
        ("`day` >= '2025-01-02'", "`day` >= date '2025-01-02'"),
        ("`odd ``name` = '2025-01-02'", "`odd ``name` = date '2025-01-02'"),
        ("'2025-01-02' < day", "date '2025-01-02' < day"),
        ("day IN ('2025-01-02', \"2025-01-03\")", "day IN (date '2025-01-02', date '2025-01-03')"),
        ("day NOT IN ('2025-01-02')", "day NOT IN (date '2025-01-02')"),
        (
            "day BETWEEN '2025-01-02' AND '2025-01-03' AND name = '2025-01-04'",
            "day BETWEEN date '2025-01-02' AND date '2025-01-03' AND name = '2025-01-04'",
        ),
        ("at > '2025-01-02T03:04:05Z'", "at > timestamp '2025-01-02 03:04:05'"),
        ("at > '2025-01-02 03:04:05.5+02:00'", "at > timestamp '2025-01-02 01:04:05.500000'"),
        ("at = date '2025-01-02'", "at = date '2025-01-02'"),
        ("date '2025-01-02' = day", "date '2025-01-02' = day"),
        ("day = 'soon'", "day = 'soon'"),
        ("x.day = '2025-01-02'", "x.day = '2025-01-02'"),
        ("day.x = '2025-01-02'", "day.x = '2025-01-02'"),
        ("day('x') = '2025-01-02'", "day('x') = '2025-01-02'"),
        ("name = '2025-01-02'", "name = '2025-01-02'"),
    ],
)
def test_text_compared_with_dates(given_text: str, expected: str) -> None:
    assert translate_filter(given_text, TEMPORAL) == expected


@pytest.mark.parametrize("text", ["name = 'x", 'name = "x', "`name = 1", 'name = "x\\"', "'a''", "\x00'"])
def test_quotes_that_are_not_closed(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        translate_filter(text)


@pytest.mark.parametrize(
    "text",
    [
        "id = 1" + "+1" * MAX_DEPTH,
        "a" + " = true" * MAX_DEPTH,
        "id" + " BETWEEN 1 AND 2" * MAX_DEPTH,
        "name" + " LIKE 'a'" * MAX_DEPTH,
        "id" + "::int" * MAX_DEPTH,
        "(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH,
        "((1" + "+1" * 60 + " OR b)" + "+1" * 60 + " OR c)" + "+1" * 60,
        "[" * MAX_DEPTH,
    ],
)
def test_deep_expressions_are_refused(text: str) -> None:
    with pytest.raises(LimitExceededError) as caught:
        translate_filter(text)
    assert caught.value.limit == MAX_DEPTH


def test_long_lists_and_many_conditions_are_no_depth() -> None:
    listed = "id IN (" + ", ".join(map(str, range(10_000))) + ")"
    assert translate_filter(listed) == listed
    joined = " OR ".join(f"(id = {number} AND name = 'x')" for number in range(1_000))
    assert translate_filter(joined) == joined


def test_bounds_of_length_and_junctions() -> None:
    with pytest.raises(LimitExceededError):
        translate_filter("a" * (MAX_LENGTH + 1))
    with pytest.raises(LimitExceededError):
        translate_filter(" OR ".join(["a"] * (MAX_JUNCTIONS + 2)))


texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(texts)
def test_json_strings_become_literals_of_the_same_text(text: str) -> None:
    for ensure_ascii in (True, False):
        given_text = f"name = {json.dumps(text, ensure_ascii=ensure_ascii)} AND x = 1"
        assert translate_filter(given_text) == f"name = {quote_text(text)} AND x = 1"


@given(texts)
def test_literals_stay_as_they_are(text: str) -> None:
    literal = quote_text(text)
    assert translate_expression(f"concat({literal}, name)") == f"(concat({literal}, name))"


operands = st.sampled_from(["id", "`c`", "'it''s'", '"a\\"b"', "1.5", "day", "null", "lower(name)", "[1, 2]"])


@st.composite
def expressions(draw: st.DrawFn) -> str:
    parts = [draw(operands)]
    for operator, operand in draw(
        st.lists(st.tuples(st.sampled_from(["=", "<=", "LIKE", "NOT LIKE"]), operands), max_size=1)
    ):
        parts += [operator, operand]
    for operator, operand in draw(
        st.lists(st.tuples(st.sampled_from(["AND", "or", "AND NOT", "AND x +"]), operands), max_size=4)
    ):
        parts += [operator, operand]
    return draw(st.sampled_from([" ", "\n", " /*y*/ ", "--x\n"])).join(parts)


pieces = st.sampled_from(
    [
        "'it''s'",
        '"a\\"b"',
        "`c`",
        "id",
        "=",
        "null",
        "(",
        ")",
        ",",
        "1.5",
        "--x\n",
        "/*y*/",
        " ",
        "AND",
        "BETWEEN",
        "day",
    ]
)


@given(expressions() | st.lists(pieces, max_size=12).map(" ".join))
def test_translating_twice_changes_nothing(text: str) -> None:
    try:
        once = translate_filter(text, TEMPORAL)
    except InvalidRequestError:
        return  # not an expression
    again = translate_filter(once, TEMPORAL)
    assert (once or "").split() == (again or "").split()


@given(st.text(max_size=40))
def test_any_text_is_translated_or_refused(text: str) -> None:
    try:
        translate_filter(text, TEMPORAL)
    except (InvalidRequestError, LimitExceededError):
        pass
