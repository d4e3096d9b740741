"""Bytes that many holders have together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.errors import LimitExceededError
from meshagent.server.kernel.byte_budget import STEP, BudgetShare, ByteBudget


def test_what_is_taken_from_a_part_is_taken_from_the_whole() -> None:
    whole = ByteBudget(100, what="bytes of all rooms")
    one, other = (ByteBudget(80, parent=whole, what="bytes of the room") for _ in range(2))
    one.change(60)
    with pytest.raises(LimitExceededError, match="the bytes of the room can have 80 bytes at most"):
        one.check(21)
    with pytest.raises(LimitExceededError, match="the bytes of all rooms can have 100 bytes at most"):
        other.check(41)
    other.check(40)
    other.change(41)
    assert one.is_exceeded
    assert other.is_exceeded
    other.check(-1)
    one.change(-1)
    assert not other.is_exceeded


@given(st.lists(st.lists(st.integers(0, 10 * STEP), min_size=1), min_size=1))
def test_shares_are_counted_to_a_step_and_end_at_nothing(holders: list[list[int]]) -> None:
    budget = ByteBudget(STEP)
    shares = [BudgetShare(budget) for _ in holders]
    for share, history in zip(shares, holders, strict=True):
        for held in history:
            share.hold(held)
    held = sum(history[-1] for history in holders)
    assert held - len(holders) * STEP < budget.used <= held
    for share in shares:
        share.hold(0)
    assert budget.used == 0


def test_who_holds_less_than_a_step_is_not_among_those_who_have_too_much() -> None:
    budget = ByteBudget(STEP)
    large, small = BudgetShare(budget), BudgetShare(budget)
    large.hold(5 * STEP)
    small.hold(STEP - 1)
    assert large.is_exceeded
    assert not small.is_exceeded
