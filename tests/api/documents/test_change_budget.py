"""What one change of a document may take: work that grows with its size and no faster, and documented bounds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import chain, count
from typing import Any

import pytest

from meshagent.api.documents import change_budget
from meshagent.api.documents.change_budget import ChangeBudget, ChangeTooLargeError
from meshagent.api.documents.server_document import ServerDocument
from tests.api.documents.test_patch_json import make, page
from tests.support.doc_schemas import page_schema

Change = Callable[[list[Any]], list[Any]]
CHANGES: dict[str, Change] = {
    "made": lambda _: [{"p": {"n": 0, "s": "new"}} for _ in range(300)],
    "emptied": lambda _: [],
    "reversed": lambda old: old[::-1],
    "halved": lambda old: old[::2],
    "turned": lambda old: [*old[len(old) // 2 :], *old[: len(old) // 2]],
    "all others": lambda old: [{"box": {"items": []}} for _ in old],
    "interleaved": lambda old: list(chain.from_iterable([{"box": {"items": []}}, one] for one in old)),
}


def paragraphs(size: int) -> list[Any]:
    return [{"p": {"n": number % 7, "s": str(number // 3)}} for number in range(size)]


def calls(action: Callable[[], object]) -> int:
    """How many functions an action calls, those of the library included."""
    counter = count()
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: next(counter) if event in ("call", "c_call") else None)
    try:
        action()
    finally:
        sys.setprofile(before)
    return next(counter)


def work(size: int, change: Change, *, by_parts: bool) -> int:
    document = make(page(paragraphs(size)))
    if by_parts:
        document.view()
    return calls(lambda: document.patch_json(page(change(paragraphs(size)))))


@pytest.mark.parametrize("by_parts", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_twice_as_many_elements_take_about_twice_the_work(name: str, by_parts: bool) -> None:
    small, large = (work(size, CHANGES[name], by_parts=by_parts) for size in (150, 600))
    assert large < 5 * small


def test_a_list_is_made_reversed_and_emptied_without_passing_its_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_budget, "MAX_STEPS", 1_000)
    children = [{"p": {"n": number}} for number in range(1_000)]
    document = make(page(children))
    document.patch_json(page(children[::-1]))
    assert document.to_json() == page(children[::-1])
    document.patch_json(page([]))
    assert document.to_json() == page([])


def test_the_counts_are_of_what_is_made_and_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets: list[ChangeBudget] = []
    make_one = ChangeBudget.__init__

    def noting(budget: ChangeBudget) -> None:
        make_one(budget)
        budgets.append(budget)

    monkeypatch.setattr(ChangeBudget, "__init__", noting)
    document = make(page([{"p": {"n": 1}}, {"p": {"n": 2, "s": "a"}}]))
    assert budgets.pop().parts == 1 + 2 + 3  # the root, and two elements with their attributes
    document.patch_json(page([{"p": {"n": 1}}, {"box": {"items": [{"p": {}}]}}]))
    assert budgets.pop().parts == 1 + 2


def too_much(bound: str) -> list[Any]:
    """Children that take more than 40 parts, comparisons or steps to get to from 15 paragraphs."""
    if bound == "MAX_STEPS":
        return [*paragraphs(15), *({"p": {"s": "new"}} for _ in range(3))]
    return [{"p": {"s": str(number)}} for number in range(30)]


@pytest.mark.parametrize("by_parts", [False, True])
@pytest.mark.parametrize("bound", ["MAX_CHANGED_PARTS", "MAX_COMPARED_ELEMENTS", "MAX_STEPS"])
def test_a_change_beyond_a_bound_is_refused_and_changes_nothing(
    bound: str, by_parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = make(page(paragraphs(15), title="old"))
    if by_parts:
        document.view()
    before = document.encode_state()
    monkeypatch.setattr(change_budget, bound, 40)
    with pytest.raises(ChangeTooLargeError, match="split the change"):
        document.patch_json(page(too_much(bound), title="new"))
    assert document.encode_state() == before
    monkeypatch.undo()
    document.patch_json(page(too_much(bound), title="new"))
    assert document.to_json() == page(too_much(bound), title="new")


def test_json_beyond_the_bound_makes_no_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_budget, "MAX_CHANGED_PARTS", 40)
    document = ServerDocument(page_schema())
    with pytest.raises(ChangeTooLargeError, match="split the change"):
        document.from_json(page(paragraphs(15)))
    assert document.to_json() == page([])
    assert document.from_json(page(paragraphs(10))) is not None
