"""Which lists and equations the table engine must not put together.

LanceDB 0.40 puts lists of one column together, and forgets that a column may be null: `n NOT IN (1) OR n NOT IN (2)`
becomes true, and `n IN (1) AND n IN (2)` false, which under NOT becomes true: rows without a value are taken
(findings/lancedb-joined-lists.sh). Equations joined by OR are lists to it. It does so only for the same expression, so
expressions are made different where that matters, by a function that returns what it is given: `nullif(n, NULL)`.
It costs the use of an index for them, so it is done only where the result can differ: where lists are negative, or
something is done with the truth of the whole, as NOT does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from meshagent.api.errors import LimitExceededError

__all__ = ["MAX_LISTS", "Choice", "wraps"]

MAX_LISTS = 64
"""Most lists of one column that are kept apart; each takes one call more than the last."""

_MERGEABLE_EQUATIONS = 3
"""Fewer equations make no two lists of which one has several values."""


@dataclass(slots=True)
class Choice:
    """A list or an equation in an expression.

    Attributes:
        kind: Which of both.
        subject: What is looked for in the list, without brackets and in lower case.
        first: The place of its first token.
        last: The place of its last token.
        is_negative: Whether it is a `NOT IN`.
        is_inside: Whether its truth is an operand of more than AND and OR: of NOT, IS, a comparison or a function.
    """

    kind: Literal["list", "equation"]
    subject: str
    first: int
    last: int
    is_negative: bool = False
    is_inside: bool = False


def wraps(choices: Iterable[Choice]) -> list[tuple[int, int, int]]:
    """What to wrap: the places of the first and the last token, and how many times.

    Raises:
        LimitExceededError: There are too many lists of one column.
    """
    by_subject: defaultdict[str, list[Choice]] = defaultdict(list)
    for choice in choices:
        by_subject[choice.subject].append(choice)
    return [wrap for of_one in by_subject.values() for wrap in _wraps_of_one(of_one)]


def _wraps_of_one(choices: Sequence[Choice]) -> Iterable[tuple[int, int, int]]:
    lists = [choice for choice in choices if choice.kind == "list"]
    equations = [choice for choice in choices if choice.kind == "equation" and choice.is_inside]
    if any(one.is_inside or one.is_negative for one in lists) and len(lists) + len(equations) > 1:
        if len(lists) > MAX_LISTS:
            raise LimitExceededError(
                f"the expression has more than {MAX_LISTS} lists for {lists[0].subject[:50]!r}: put them into one",
                limit=MAX_LISTS,
            )
        for number, one in enumerate(lists, 1):
            yield one.first, one.last, number
    if len(equations) >= _MERGEABLE_EQUATIONS:
        for one in equations:
            yield one.first, one.last, 1
