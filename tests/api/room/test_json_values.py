"""What JSON cannot hold is refused before it is sent."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import pytest

from meshagent.api.errors import InvalidRequestError
from meshagent.api.room.json_values import check_json_values


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, b"x", bytearray(b"x"), {1: "x"}, {None: 1}, {("a",): 1}],
    ids=repr,
)
def test_what_json_cannot_hold_is_refused_at_any_depth(value: Any) -> None:
    for row in ({"a": value}, {"a": [1.5, value]}, {"a": [{"b": [value]}]}, {"a": (value, "x")}):
        with pytest.raises(InvalidRequestError):
            check_json_values([row])


def test_other_values_pass() -> None:
    check_json_values([{"a": [1, 2.5, None, True, "x"], "b": {"c": [[1.0], [2.0]]}, "d": date(2025, 1, 2)}])
    check_json_values(None)
