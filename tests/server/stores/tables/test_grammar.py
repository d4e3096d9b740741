"""Filters and expressions are judged to their end, and mean what SQL queries mean."""

from __future__ import annotations

import pytest

from meshagent.api.errors import InvalidRequestError, LimitExceededError
from meshagent.server.stores.tables.filters import translate_filter
from meshagent.server.stores.tables.grammar import ColumnKind

COLUMNS: dict[str, ColumnKind] = {"n": "integer", "at": "timestamp"}


@pytest.mark.parametrize(
    "text",
    [
        "id > 0 id = 3",
        "id > 0 3",
        "id > 0 'x'",
        "id > 0; true",
        "id > 0) OR (true",
        "id > 0 AND",
        "(id > 0",
        "id > 0]",
        "id > 7abc",
        "id = 1.5.3",
        "id = 1e",
        "id = 1e -5",
        "name = 'a' 'b'",
        "name GLOB 'x'",
        "name LIKE 'x' ESCAPE '!'",
        "id = 1 COLLATE x",
        "id NOT 1",
        "id IS 5",
        "id IN 5",
        "id IN (1, )",
        "id BETWEEN 1",
        "id = 1 = true",
        "id | | 2 = 3",
        "id : : int = 3",
        "EXISTS (SELECT 1)",
        "id = (SELECT 1)",
        "CAST(id AS)",
        "CASE WHEN a THEN b END",
        "f(a b)",
        "f(a",
        "time '12:00'",
        "e'x'",
        "a..b",
        "= 1",
        "()",
    ],
)
@pytest.mark.parametrize("quoted_names", [False, True])
def test_what_is_not_one_expression_is_refused(text: str, quoted_names: bool) -> None:
    with pytest.raises(InvalidRequestError):
        translate_filter(text, COLUMNS, quoted_names=quoted_names)


@pytest.mark.parametrize(
    "text",
    [
        "id > 0 AND id = 3",
        "NOT NOT (a OR NOT b) AND c IS NOT TRUE",
        "a IS NULL IS NOT NULL",
        "a = b IS TRUE",
        "name NOT LIKE 'a%' ESCAPE '\\'",
        "name ILIKE 'A_'",
        "id NOT IN (1, -2, 3 + 4)",
        "id NOT BETWEEN 1 AND 2 AND x",
        "a.b['c'][1] = -1.5e-3",
        "x > .5 AND y < 1. AND z = 2E10",
        "a || b = 'ab'",
        "CAST(a AS DECIMAL(10, 2)) = 1 OR TRY_CAST(b AS double precision) = 2",
        "a::string = '1'",
        "array_contains([1, 2], id) AND f() AND g((a), `b c`)",
        "data = X'00ff' AND day = DATE '2025-01-02' AND at = timestamp '2025-01-02 03:04:05'",
        "from = 'bob' AND end = 1",
    ],
)
def test_whole_expressions_pass_as_they_are(text: str) -> None:
    assert translate_filter(text, quoted_names=True) == f"({text})"


def test_the_smallest_integer_can_be_written() -> None:
    assert translate_filter("n = -9223372036854775808", COLUMNS) == "(n = (-9223372036854775807 - 1))"


@pytest.mark.parametrize(
    "text",
    [
        "n / 2 = 3",
        "(n + 1) / -n = 3",
        "length(name) / 2 = 3",
        "tags[0] / 2 = 3",
        "CAST(price AS INT) = 2",
        "price::bigint = 2",
        "name LIKE pattern",
        "name LIKE 'a' || 'b'",
        "n = NULL",
        "n != null",
        "at > '2025-01-02T03:04:05+02:00'",
    ],
)
def test_what_the_engines_understand_differently_is_refused(text: str) -> None:
    assert translate_filter(text, COLUMNS) is not None, "no query can disagree in the toolkit without SQL"
    with pytest.raises(InvalidRequestError):
        translate_filter(text, COLUMNS, quoted_names=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("price / 2 = 3", "(price / 2 = 3)"),
        ("n / 2.0 = 3.5", "(n / 2.0 = 3.5)"),
        ("CAST(n AS DOUBLE) / 2 = 3.5", "(CAST(n AS DOUBLE) / 2 = 3.5)"),
        ("name LIKE 'a\\b%'", "(name LIKE 'a\\\\b%')"),
        ("at > '2025-01-02T03:04:05Z'", "(at > timestamp '2025-01-02 03:04:05')"),
    ],
)
def test_what_they_understand_alike_passes(text: str, expected: str) -> None:
    assert translate_filter(text, COLUMNS, quoted_names=True) == expected


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("n NOT IN (1)", "(n NOT IN (1))"),
        ("n IN (1) OR n IN (2)", "(n IN (1) OR n IN (2))"),
        ("n = 1 OR n = 2 OR n = 3", "(n = 1 OR n = 2 OR n = 3)"),
        ("n NOT IN (1) AND at NOT IN (2)", "(n NOT IN (1) AND at NOT IN (2))"),
        ("NOT (n IN (1) AND x = 2)", "(NOT (n IN (1) AND x = 2))"),
        (
            "n NOT IN (1) OR (`n`) NOT IN (2)",
            "(nullif(n, NULL) NOT IN (1) OR nullif(nullif((`n`), NULL), NULL) NOT IN (2))",
        ),
        ("NOT (n IN (1) AND n = 2)", "(NOT (nullif(n, NULL) IN (1) AND n = 2))"),
        (
            "NOT (n = 1 OR 2 = n OR N <> 3)",
            "(NOT (nullif(n, NULL) = 1 OR 2 = nullif(n, NULL) OR nullif(N, NULL) <> 3))",
        ),
        ("(n IN (1) AND n IN (2)) IS NULL", None),
        ("(n IN (1) AND n IN (2)) = false", None),
        ("coalesce(n IN (1) AND n IN (2), true)", None),
        ("NOT (n + 1 IN (1) AND n + 1 IN (2))", None),
    ],
)
def test_lists_and_equations_are_kept_apart_where_their_truth_could_differ(text: str, spelled: str | None) -> None:
    """`None` stands for one that is wrapped once and one that is wrapped twice."""
    translated = translate_filter(text, COLUMNS)
    assert translated is not None
    if spelled is None:
        assert (translated.count("nullif("), translated.count("nullif(nullif(")) == (3, 1)
    else:
        assert translated == spelled


def test_too_many_lists_that_must_be_kept_apart_are_refused() -> None:
    negative = [f"n NOT IN ({number})" for number in range(65)]
    assert translate_filter(" OR ".join(negative[:64]), COLUMNS)
    with pytest.raises(LimitExceededError, match="put them into one"):
        translate_filter(" OR ".join(negative), COLUMNS)
    assert translate_filter(" OR ".join(f"n IN ({number})" for number in range(1000)), COLUMNS)
