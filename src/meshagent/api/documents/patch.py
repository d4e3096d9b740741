"""Edits a document so that it equals a new version, with few edits.

Rewriting a document would undo what others type at that moment and lose the identity of every element. So elements
are matched with their new versions, by `$id` where the new version has one and else by likeness and order, and only
differences are written. Yjs cannot move nodes: one that changed places is deleted and made again.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from meshagent.api.documents.crdt_doc import CrdtDoc
from meshagent.api.documents.crdt_tree import (
    child_at,
    children_of,
    insert_node,
    read_element,
    read_root_attributes,
    read_text,
)
from meshagent.api.documents.crdt_types import Transaction, XmlContainer, XmlNode, XmlText, is_element, is_text
from meshagent.api.documents.schema import MeshSchema
from meshagent.api.documents.tree import ID, TEXT_TAG, ElementNode, Node, TextNode, TextRun
from meshagent.api.documents.values import clean_attributes

__all__ = ["patch_range", "patch_root", "patch_text"]


def patch_root(doc: CrdtDoc, txn: Transaction, schema: MeshSchema, target: ElementNode) -> None:
    """Make the document equal to `target`, which must fit the schema, as part of `txn`."""
    current = read_root_attributes(doc, txn)
    wanted = clean_attributes(target.attributes)
    for name in current.keys() - wanted.keys():
        doc.root_map.remove(txn, name)
    for name, value in wanted.items():
        if name != ID and not (name in current and _same(current[name], value)):
            doc.root_map.insert(txn, name, value)
    _Patch(txn, schema).children(doc.root, target)


def patch_range(
    txn: Transaction, schema: MeshSchema, parent: XmlContainer, start: int, end: int, target: Sequence[Node]
) -> None:
    """Make the children from `start` to `end` equal to `target`, which must fit the schema, as part of `txn`."""
    raw = [child_at(txn, parent, index) for index in range(start, end)]
    _Patch(txn, schema).range(parent, start, raw, target)


class _Patch:
    def __init__(self, txn: Transaction, schema: MeshSchema) -> None:
        self._txn = txn
        self._schema = schema

    def children(self, parent: XmlContainer, target: ElementNode) -> None:
        """Match the children of `parent` with those of its new version; delete, insert and patch."""
        raw = children_of(self._txn, parent)
        new = self._with_text_node(target, raw)
        if new is None:
            return
        self.range(parent, 0, raw, new)

    def range(self, parent: XmlContainer, begin: int, raw: Sequence[XmlNode | None], new: Sequence[Node]) -> None:
        """Match children of `parent`, `raw` from position `begin` on, with their new version."""
        pairs = _match([self._read(node) for node in raw], new)
        # From the end, so that indices before the gap at hand stay what they are.
        end_old, end_new = len(raw), len(new)
        for old_index, new_index in [*reversed(pairs), (-1, -1)]:
            start = begin + old_index + 1
            if begin + end_old > start:
                parent.remove_range(self._txn, start, begin + end_old - start)
            for offset, node in enumerate(new[new_index + 1 : end_new]):
                insert_node(self._txn, parent, start + offset, node)
            end_old, end_new = old_index, new_index
        for old_index, new_index in pairs:
            self._node(raw[old_index], new[new_index])

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
            patch_text(self._txn, raw, target)
        elif is_element(raw) and isinstance(target, ElementNode):
            current = clean_attributes(raw.attributes(self._txn))
            wanted = clean_attributes(target.attributes)
            for name in current.keys() - wanted.keys() - {ID}:
                raw.remove_attribute(self._txn, name)
            for name, value in wanted.items():
                if not (name in current and _same(current[name], value)):
                    raw.insert_attribute(self._txn, name, value)
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
    low_old = low_new = 0
    for i, j, size in _equal_runs([old[i] for i in old_index], [new[j] for j in new_index]):
        tags_old = [(old[k] or ("",))[0] for k in old_index[low_old:i]]
        tags_new = [(new[k] or ("",))[0] for k in new_index[low_new:j]]
        for a, b, count in _equal_runs(tags_old, tags_new):
            for k in range(count):
                yield old_index[low_old + a + k], new_index[low_new + b + k]
        for k in range(size):
            yield old_index[i + k], new_index[j + k]
        low_old, low_new = i + size, j + size


def _equal_runs(old: Sequence[Any], new: Sequence[Any]) -> Iterator[tuple[int, int, int]]:
    """Equal ranges as (start in old, start in new, length); the last one is at both ends, with length 0."""
    prefix = 0
    while prefix < min(len(old), len(new)) and old[prefix] == new[prefix]:
        prefix += 1
    suffix = 0
    while suffix < min(len(old), len(new)) - prefix and old[-1 - suffix] == new[-1 - suffix]:
        suffix += 1
    yield 0, 0, prefix
    middle_old, middle_new = old[prefix : len(old) - suffix], new[prefix : len(new) - suffix]
    for block in SequenceMatcher(None, middle_old, middle_new, autojunk=False).get_matching_blocks()[:-1]:
        yield prefix + block.a, prefix + block.b, block.size
    yield len(old) - suffix, len(new) - suffix, suffix
    yield len(old), len(new), 0


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
    for wanted in target.runs:
        for run, start in zip(runs, starts, strict=True):
            begin, end = max(start, position), min(start + len(run.insert), position + len(wanted.insert))
            if begin >= end:
                continue
            length = len(wanted.insert[begin - position : end - position].encode())
            at = offset + len(wanted.insert[: begin - position].encode())
            change = _attribute_change(run.attributes, clean_attributes(wanted.attributes))
            if change:
                text.format(txn, at, length, iter(change.items()))
        position += len(wanted.insert)
        offset += len(wanted.insert.encode())


def _attribute_change(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    change: dict[str, Any] = {name: None for name in old if name not in new}
    change.update({name: value for name, value in new.items() if name not in old or not _same(old[name], value)})
    return change
