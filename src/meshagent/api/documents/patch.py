"""Edits a document so that it equals a new version, with few edits.

Rewriting a document would undo what others type at that moment and lose the identity of every element. So elements
are matched with their new versions, by `$id` where the new version has one and else by likeness and order, and only
differences are written. Yjs cannot move nodes: one that changed places is deleted and made again.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from meshagent.api.documents.change_budget import ChangeBudget
from meshagent.api.documents.crdt_doc import CrdtDoc
from meshagent.api.documents.crdt_tree import (
    children_of,
    insert_nodes,
    read_element,
    read_root_attributes,
    read_text,
)
from meshagent.api.documents.crdt_types import Transaction, XmlContainer, XmlNode, XmlText, is_element, is_text
from meshagent.api.documents.schema import MeshSchema
from meshagent.api.documents.tree import ID, TEXT_TAG, ElementNode, Node, TextNode, TextRun
from meshagent.api.documents.values import clean_attributes

__all__ = ["patch_root", "patch_text", "plan_range"]


def patch_root(doc: CrdtDoc, txn: Transaction, schema: MeshSchema, target: ElementNode, budget: ChangeBudget) -> None:
    """Make the document equal to `target`, which must fit the schema, as part of `txn`.

    Raises:
        LimitExceededError: That takes more than the budget; nothing changed.
    """
    current = read_root_attributes(doc, txn)
    wanted = clean_attributes(target.attributes)
    patch = _Patch(txn, schema, budget)
    for name in current.keys() - wanted.keys():
        patch.add(partial(doc.root_map.remove, txn, name))
    for name, value in wanted.items():
        if name != ID and not (name in current and _same(current[name], value)):
            patch.add(partial(doc.root_map.insert, txn, name, value))
    patch.children(doc.root, target)
    patch.write()


def plan_range(
    txn: Transaction,
    schema: MeshSchema,
    parent: XmlContainer,
    span: tuple[int, int],
    target: Sequence[Node],
    budget: ChangeBudget,
) -> Callable[[], None]:
    """Plan to make the children within `span` (start, end) equal to `target`, which must fit the schema.

    Returns:
        Makes the change as part of `txn`, in which these children must be what they were.

    Raises:
        LimitExceededError: That takes more than the budget.
    """
    start, end = span
    patch = _Patch(txn, schema, budget)
    patch.range(parent, start, children_of(txn, parent)[start:end], target)
    return patch.write


class _Patch:
    """A change of a document: found and counted first, and then made."""

    def __init__(self, txn: Transaction, schema: MeshSchema, budget: ChangeBudget) -> None:
        self._txn = txn
        self._schema = schema
        self._budget = budget
        self._edits: list[Callable[[], object]] = []

    def add(self, edit: Callable[[], object]) -> None:
        """Add the edit of one attribute."""
        self._budget.change(1)
        self._edits.append(edit)

    def write(self) -> None:
        """Make the change."""
        for edit in self._edits:
            edit()

    def children(self, parent: XmlContainer, target: ElementNode) -> None:
        """Match the children of `parent` with those of its new version: what to delete, insert and patch."""
        raw = children_of(self._txn, parent)
        new = self._with_text_node(target, raw)
        if new is None:
            return
        self.range(parent, 0, raw, new)

    def range(self, parent: XmlContainer, begin: int, raw: Sequence[XmlNode | None], new: Sequence[Node]) -> None:
        """Match children of `parent`, `raw` from position `begin` on, with their new version."""
        self._budget.compare_elements(len(raw))
        old = [self._read(node) for node in raw]
        pairs = _match(old, new)
        # From the end, so that indices before the gap at hand stay what they are.
        end_old, end_new = len(raw), len(new)
        for old_index, new_index in [*reversed(pairs), (-1, -1)]:
            removed, made = old[old_index + 1 : end_old], new[new_index + 1 : end_new]
            if removed or made:
                self._gap(parent, begin + old_index + 1, removed, made)
            end_old, end_new = old_index, new_index
        for old_index, new_index in pairs:
            self._node(raw[old_index], new[new_index])

    def _gap(self, parent: XmlContainer, start: int, removed: Sequence[Node | None], made: Sequence[Node]) -> None:
        """Replace children between two that stay."""
        self._budget.delete(node for node in removed if node is not None)
        self._budget.make(made)
        self._budget.walk(start, len(made) + bool(removed))
        if removed:
            self._edits.append(partial(parent.remove_range, self._txn, start, len(removed)))
        if made:
            self._edits.append(partial(insert_nodes, self._txn, parent, start, made))

    def _with_text_node(self, target: ElementNode, raw: Sequence[XmlNode | None]) -> list[Node] | None:
        """The new children. An element `text` keeps its text node; None if its JSON cannot show children."""
        if self._schema.element(target.tag).child_property is None:
            return None
        has_text = bool(target.children) and isinstance(target.children[0], TextNode)
        if target.tag == TEXT_TAG and not has_text and any(map(is_text, raw)):
            return [TextNode(), *target.children]
        return target.children

    def _read(self, node: XmlNode | None) -> Node | None:
        if is_element(node):
            return read_element(self._txn, node)
        return read_text(self._txn, node) if is_text(node) else None

    def _node(self, raw: XmlNode | None, target: Node) -> None:
        if is_text(raw) and isinstance(target, TextNode):
            current_text = read_text(self._txn, raw)
            if current_text != target:
                self._budget.edit_text(len(current_text.runs), len(target.runs))
                self._edits.append(partial(patch_text, self._txn, raw, target))
        elif is_element(raw) and isinstance(target, ElementNode):
            current = clean_attributes(raw.attributes(self._txn))
            wanted = clean_attributes(target.attributes)
            for name in current.keys() - wanted.keys() - {ID}:
                self.add(partial(raw.remove_attribute, self._txn, name))
            for name, value in wanted.items():
                if not (name in current and _same(current[name], value)):
                    self.add(partial(raw.insert_attribute, self._txn, name, value))
            self.children(raw, target)


def _match(old: Sequence[Node | None], new: Sequence[Node]) -> list[tuple[int, int]]:
    """Pairs of old and new positions of nodes that are kept, both increasing."""
    anchors = _match_by_id(old, new)
    claimed = {_id(node) for node in new} - {None}
    free_old = [_key(node) if node is not None and _id(node) not in claimed else None for node in old]
    free_new = [_key(node) if _id(node) is None else None for node in new]
    pairs: list[tuple[int, int]] = []
    low_old = low_new = 0
    for old_index, new_index in [*anchors, (len(old), len(new))]:
        pairs += _match_by_likeness(free_old, free_new, range(low_old, old_index), range(low_new, new_index))
        if old_index < len(old):
            pairs.append((old_index, new_index))
        low_old, low_new = old_index + 1, new_index + 1
    return pairs


def _match_by_id(old: Sequence[Node | None], new: Sequence[Node]) -> list[tuple[int, int]]:
    """The longest increasing sequence of pairs with the same `$id` and tag."""
    positions = {(_id(node), node.tag): i for i, node in enumerate(old) if isinstance(node, ElementNode)}
    candidates = [
        (positions[_id(node), node.tag], j)
        for j, node in enumerate(new)
        if isinstance(node, ElementNode) and _id(node) is not None and (_id(node), node.tag) in positions
    ]
    return _longest_increasing(candidates)


def _longest_increasing(candidates: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest series of pairs, in the order they are in, whose first numbers increase."""
    tails: list[int] = []  # the smallest end of a series of each length …
    chosen: list[int] = []  # … and which candidate it is
    before: list[int | None] = []
    for k, (old_index, _) in enumerate(candidates):
        length = bisect_left(tails, old_index)
        tails[length:] = [old_index]
        before.append(chosen[length - 1] if length else None)
        chosen[length:] = [k]
    series = []
    k_or_none = chosen[-1] if chosen else None
    while k_or_none is not None:
        series.append(candidates[k_or_none])
        k_or_none = before[k_or_none]
    return series[::-1]


_Key = tuple[str, str]  # tag and content


def _match_by_likeness(
    old: Sequence[_Key | None], new: Sequence[_Key | None], old_range: range, new_range: range
) -> Iterator[tuple[int, int]]:
    """Pairs within two ranges: nodes with equal content, and between them nodes with the same tag."""
    old_index = [i for i in old_range if old[i] is not None]
    new_index = [j for j in new_range if new[j] is not None]
    equal = _equal_pairs([old[i] for i in old_index], [new[j] for j in new_index])
    low_old = low_new = 0
    for i, j in [*equal, (len(old_index), len(new_index))]:
        if low_old < i and low_new < j:
            tags_old = [(old[k] or ("",))[0] for k in old_index[low_old:i]]
            tags_new = [(new[k] or ("",))[0] for k in new_index[low_new:j]]
            for a, b in _equal_pairs(tags_old, tags_new):
                yield old_index[low_old + a], new_index[low_new + b]
        if i < len(old_index):
            yield old_index[i], new_index[j]
        low_old, low_new = i + 1, j + 1


def _equal_pairs(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Positions of equal items, both increasing, in O(n log n): not always as many as there could be.

    What is the same at both ends is paired, then what is there once, and between those the first with the first.
    """
    pairs: list[tuple[int, int]] = []
    low_old = low_new = 0
    for i, j in [*_trimmed_pairs(old, new, _once), (len(old), len(new))]:
        if low_old < i and low_new < j:
            between = _trimmed_pairs(old[low_old:i], new[low_new:j], _numbered)
            pairs += [(low_old + a, low_new + b) for a, b in between]
        if i < len(old):
            pairs.append((i, j))
        low_old, low_new = i + 1, j + 1
    return pairs


def _trimmed_pairs(
    old: Sequence[Hashable], new: Sequence[Hashable], positions: Callable[[Sequence[Hashable]], dict[Hashable, int]]
) -> list[tuple[int, int]]:
    """Pairs at both ends of two lists, and between those the items that `positions` names alike."""
    shorter = min(len(old), len(new))
    prefix = 0
    while prefix < shorter and old[prefix] == new[prefix]:
        prefix += 1
    suffix = 0
    while suffix < shorter - prefix and old[-1 - suffix] == new[-1 - suffix]:
        suffix += 1
    of_old = positions(old[prefix : len(old) - suffix])
    of_new = positions(new[prefix : len(new) - suffix])
    middle = _longest_increasing([(of_old[name], j) for name, j in of_new.items() if name in of_old])
    return [
        *((i, i) for i in range(prefix)),
        *((prefix + i, prefix + j) for i, j in middle),
        *((len(old) - i, len(new) - i) for i in range(suffix, 0, -1)),
    ]


def _once(items: Sequence[Hashable]) -> dict[Hashable, int]:
    """Where each item is that is there once, in their order."""
    counts = Counter(items)
    return {item: index for index, item in enumerate(items) if counts[item] == 1}


def _numbered(items: Sequence[Hashable]) -> dict[Hashable, int]:
    """Where each item is, named by itself and how many of it come before it, in their order."""
    seen: Counter[Hashable] = Counter()
    result: dict[Hashable, int] = {}
    for index, item in enumerate(items):
        result[item, seen[item]] = index
        seen[item] += 1
    return result


def _key(node: Node) -> _Key:
    tag = node.tag if isinstance(node, ElementNode) else ""
    return tag, json.dumps(_content(node), sort_keys=True)


def _content(node: Node) -> Any:
    """The content that is compared: everything but ids."""
    if isinstance(node, TextNode):
        return [[run.insert, run.attributes] for run in node.runs]
    attributes = clean_attributes(node.attributes)
    attributes.pop(ID, None)
    children = [child for child in node.children if child != TextNode()]
    return [node.tag, attributes, [_content(child) for child in children]]


def _id(node: Node | None) -> str | None:
    return node.attributes.get(ID) if isinstance(node, ElementNode) else None


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; unlike in Python, true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def patch_text(txn: Transaction, text: XmlText, target: TextNode) -> None:
    """Make a text equal to `target`: replace the range in which the texts differ, then adjust the formatting."""
    current = read_text(txn, text)
    if any(not isinstance(run.insert, str) for run in current.runs):
        length = sum(len(run.insert.encode()) if isinstance(run.insert, str) else 1 for run in current.runs)
        text.remove_range(txn, 0, length)
        current = TextNode()
    old = "".join(run.insert for run in current.runs)
    new = "".join(run.insert for run in target.runs)
    prefix, removed, inserted = _splice(old, new)
    offset = len(old[:prefix].encode())
    if removed:
        text.remove_range(txn, offset, len(old[prefix : prefix + removed].encode()))
    for run in _slice_runs(target.runs, prefix, prefix + inserted):
        text.insert(txn, offset, run.insert, iter(run.attributes.items()))
        offset += len(run.insert.encode())
    _patch_formatting(txn, text, target)


def _splice(old: str, new: str) -> tuple[int, int, int]:
    """The length of the common prefix, and how many characters after it are removed and inserted."""
    limit = min(len(old), len(new))
    prefix = 0
    while prefix < limit and old[prefix] == new[prefix]:
        prefix += 1
    suffix = 0
    while suffix < limit - prefix and old[-1 - suffix] == new[-1 - suffix]:
        suffix += 1
    return prefix, len(old) - prefix - suffix, len(new) - prefix - suffix


def _slice_runs(runs: Sequence[TextRun], start: int, stop: int) -> Iterator[TextRun]:
    position = 0
    for run in runs:
        part = run.insert[max(start - position, 0) : max(stop - position, 0)]
        if part:
            yield TextRun(part, run.attributes)
        position += len(run.insert)


def _patch_formatting(txn: Transaction, text: XmlText, target: TextNode) -> None:
    """Give a text, whose characters equal those of `target`, the formatting of `target`."""
    runs = read_text(txn, text).runs
    position = 0
    starts = []
    for run in runs:
        starts.append(position)
        position += len(run.insert)
    offset = 0
    position = 0
    first = 0  # of the runs that do not end before the wanted one
    for wanted in target.runs:
        stop = position + len(wanted.insert)
        while first < len(runs) and starts[first] + len(runs[first].insert) <= position:
            first += 1
        for run, start in zip(islice(runs, first, None), islice(starts, first, None), strict=True):
            if start >= stop:
                break
            begin, end = max(start, position), min(start + len(run.insert), stop)
            length = len(wanted.insert[begin - position : end - position].encode())
            at = offset + len(wanted.insert[: begin - position].encode())
            change = _attribute_change(run.attributes, clean_attributes(wanted.attributes))
            if change and length:
                text.format(txn, at, length, iter(change.items()))
        position = stop
        offset += len(wanted.insert.encode())


def _attribute_change(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    change: dict[str, Any] = {name: None for name in old if name not in new}
    change.update({name: value for name, value in new.items() if name not in old or not _same(old[name], value)})
    return change
