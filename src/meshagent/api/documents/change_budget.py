"""Bounds what one change of a document may take: it is made in one turn of the server's loop.

A change is counted before any of it is made, so that one that is refused leaves the document as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NoReturn

from meshagent.api.documents.tree import ID, ElementNode, Node, TextNode
from meshagent.api.errors import LimitExceededError

__all__ = ["MAX_CHANGED_PARTS", "MAX_COMPARED_ELEMENTS", "MAX_STEPS", "ChangeBudget", "ChangeTooLargeError"]

MAX_CHANGED_PARTS: Final = 10_000
"""How many elements, attributes and runs of text one change may make and delete; what moves is deleted and made."""
MAX_COMPARED_ELEMENTS: Final = 10_000
"""How many elements, in the document and in its new form together, one change may compare."""
MAX_STEPS: Final = 10_000_000
"""How many siblings one change may pass on its way to the places that it changes: the CRDT has lists without index."""


class ChangeTooLargeError(LimitExceededError):
    """One change of a document is more than a documented limit; nothing changed, nor would it the next time."""

    retryable = False


class ChangeBudget:
    """Counts the parts of one change.

    Attributes:
        parts: Elements, attributes and runs of text that are made or deleted.
        compared: Elements that are compared.
        steps: Siblings that are passed.
    """

    __slots__ = ("compared", "parts", "steps")

    def __init__(self) -> None:
        self.parts = 0
        self.compared = 0
        self.steps = 0

    def compare(self, *contents: Any) -> None:
        """Count the elements of JSON forms that are about to be read.

        Raises:
            ChangeTooLargeError: There are more than `MAX_COMPARED_ELEMENTS`.
        """
        todo = list(contents)
        objects = 0
        while todo:
            value = todo.pop()
            if isinstance(value, dict):
                objects += 1
                todo += [item for item in value.values() if isinstance(item, (dict, list))]
            elif isinstance(value, list):
                todo += value
        self.compare_elements(objects // 2)  # an element is an object with its tag, in which is one with its content

    def compare_elements(self, count: int) -> None:
        """Count elements that are compared; raises as `compare`."""
        self.compared += count
        if self.compared > MAX_COMPARED_ELEMENTS:
            _refuse(f"compare {MAX_COMPARED_ELEMENTS} elements", MAX_COMPARED_ELEMENTS)

    def make(self, nodes: Iterable[Node]) -> None:
        """Count nodes that are made, with their descendants.

        Raises:
            ChangeTooLargeError: The change makes and deletes more than `MAX_CHANGED_PARTS`, or takes too many steps.
        """
        for node in _with_descendants(nodes):
            if isinstance(node, TextNode):
                self._text(len(node.runs))
            else:
                self.change(1 + len(node.attributes) - (ID in node.attributes))

    def delete(self, nodes: Iterable[Node]) -> None:
        """Count nodes that are deleted, with their descendants; raises as `make`."""
        self.change(sum(1 for _ in _with_descendants(nodes)))

    def edit_text(self, old_runs: int, new_runs: int) -> None:
        """Count a text that changes; raises as `make`."""
        self._text(old_runs + new_runs)

    def change(self, count: int) -> None:
        """Count parts that are made or deleted; raises as `make`."""
        self.parts += count
        if self.parts > MAX_CHANGED_PARTS:
            _refuse(f"make and delete {MAX_CHANGED_PARTS} elements, attributes and runs of text", MAX_CHANGED_PARTS)

    def walk(self, position: int, times: int = 1) -> None:
        """Count ways from the first sibling to a position; raises as `make`."""
        self.steps += position * times
        if self.steps > MAX_STEPS:
            _refuse(f"pass {MAX_STEPS} siblings on its way to what it changes", MAX_STEPS)

    def _text(self, runs: int) -> None:
        self.change(runs)
        self.walk(runs, runs)


def _with_descendants(nodes: Iterable[Node]) -> Iterable[Node]:
    todo = list(nodes)
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ElementNode):
            todo += node.children


def _refuse(what: str, limit: int) -> NoReturn:
    raise ChangeTooLargeError(f"one change of a document may {what} at most; split the change", limit=limit)
