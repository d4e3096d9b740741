"""The tree of errors: codes, numbers on the wire, and the way back from a number to its class."""

from __future__ import annotations

import pytest

from meshagent.api import errors
from meshagent.api.errors import (
    ConflictError,
    InternalError,
    InvalidStateError,
    LimitExceededError,
    NotFoundError,
    PermissionDeniedError,
    RoomException,
    error_for_wire_code,
)

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "error_for_wire_code"]


def test_each_class_has_a_code_of_its_own() -> None:
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls.wire_code != RoomException.wire_code])
def test_a_number_of_its_own_leads_back_to_the_class(cls: type[RoomException]) -> None:
    error = error_for_wire_code("why", cls.wire_code)
    assert type(error) is cls
    assert str(error) == "why"


@pytest.mark.parametrize(
    ("wire_code", "cls"),
    [(2001, NotFoundError), (3003, InvalidStateError), (1008, RoomException), (9999, RoomException)],
)
def test_numbers_of_single_areas_lead_to_the_general_class(wire_code: int, cls: type[RoomException]) -> None:
    error = error_for_wire_code("why", wire_code)
    assert type(error) is cls
    assert error.wire_code == wire_code


def test_without_a_number_the_class_is_the_general_one() -> None:
    assert type(error_for_wire_code("why", None)) is RoomException


def test_a_limit_is_told_and_may_be_tried_again() -> None:
    error = LimitExceededError("too many", limit=3)
    assert (error.limit, error.retryable, error.code) == (3, True, "limit_exceeded")
    assert not PermissionDeniedError().retryable
    assert ConflictError().retryable
    assert str(InternalError()) == "the request failed"
