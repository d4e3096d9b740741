"""The JSON form of a room's document, kept while nothing changes, and changed where a patch changes it.

A patch of one value then costs a look at the lists that it is in, and not the whole document.

Source: protocol 8.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshagent.api.documents.change_budget import ChangeBudget
from meshagent.api.documents.crdt_doc import CrdtDoc
from meshagent.api.documents.crdt_tree import read_element, read_root_attributes, read_text
from meshagent.api.documents.crdt_types import Transaction, XmlContainer, XmlText, is_element, is_text
from meshagent.api.documents.patch import patch_text, plan_range
from meshagent.api.documents.schema import ElementType, MeshSchema
from meshagent.api.documents.tree import (
    ID,
    ElementNode,
    TextNode,
    element_to_json,
    is_text_json,
    parse_attribute,
    parse_element,
    runs_from_json,
)
from meshagent.api.documents.values import clean_attributes, same_value

__all__ = ["JsonChange", "plan_change", "without_ids"]

_MANY_CHILDREN = 32
"""Of how many children the handles are taken together; each one by itself is searched from the first child."""


class _NotPlannedError(Exception):
    """The change is one that only the comparison of the whole document can make."""


@dataclass(slots=True)
class _TextPlan:
    raw: XmlText
    target: TextNode

    def write(self, plan: JsonChange) -> None:
        patch_text(plan.txn, self.raw, self.target)

    def json(self, plan: JsonChange) -> dict[str, Any]:
        return read_text(plan.txn, self.raw).to_json()


@dataclass(slots=True)
class _ElementPlan:
    """What to change in one element."""

    raw: XmlContainer
    element_type: ElementType
    old: dict[str, Any]
    set: dict[str, Any] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    children: dict[int, _ElementPlan | _TextPlan] = field(default_factory=dict)
    replaced: tuple[int, int, int] | None = None  # start, end and the number of new nodes
    replace: Callable[[], None] | None = None

    def write(self, plan: JsonChange) -> None:
        doc, txn = plan.doc, plan.txn
        for name in self.removed:
            if is_element(self.raw):
                self.raw.remove_attribute(txn, name)
            else:
                doc.root_map.remove(txn, name)
        for name, value in self.set.items():
            if is_element(self.raw):
                self.raw.insert_attribute(txn, name, value)
            else:
                doc.root_map.insert(txn, name, value)
        for child in self.children.values():
            child.write(plan)
        if self.replace is not None:
            self.replace()

    def json(self, plan: JsonChange) -> dict[str, Any]:
        """The element after the change; what did not change is what it was."""
        [(tag, body)] = self.old.items()
        prop = self.element_type.child_property
        children = None if prop is None else body[prop.name]
        if self.set or self.removed:
            raw = self.raw
            attributes = (
                clean_attributes(raw.attributes(plan.txn))
                if is_element(raw)
                else read_root_attributes(plan.doc, plan.txn)
            )
        else:
            attributes = {name: value for name, value in body.items() if prop is None or name != prop.name}
        if prop is not None:
            attributes[prop.name] = self._children_json(children or [], plan)
        return {tag: attributes}

    def _children_json(self, old: list[Any], plan: JsonChange) -> list[Any]:
        if not self.children and self.replaced is None:
            return old
        new = list(old)
        for index, child in self.children.items():
            new[index] = child.json(plan)
        if self.replaced is not None:
            start, end, count = self.replaced
            found = plan.handles(self.raw, start, start + count)
            new[start:end] = [
                element_to_json(read_element(plan.txn, raw), plan.schema, include_ids=True)
                for raw in found
                if is_element(raw)
            ]
        return new


class JsonChange:
    """A change of a document from one JSON form to another, checked and ready to be made in a transaction."""

    def __init__(self, doc: CrdtDoc, txn: Transaction, schema: MeshSchema, is_used: Callable[[str], bool]) -> None:
        self.doc = doc
        self.txn = txn
        self.schema = schema
        self._is_used = is_used
        self._root: _ElementPlan | None = None
        self.budget = ChangeBudget()

    def write(self) -> dict[str, Any]:
        """Make the change; returns the JSON form of the document after it, with ids."""
        assert self._root is not None
        self._root.write(self)
        return self._root.json(self)

    def plan(self, old: dict[str, Any], new: Any) -> None:
        self._root = self._element(self.doc.root, old, new)

    def _element(self, raw: XmlContainer, old: dict[str, Any], new: Any) -> _ElementPlan:
        [(tag, old_body)] = old.items()
        if not _has_one_key(new, tag) or tag not in self.schema.elements_by_tag_name:
            raise _NotPlannedError
        body = new[tag]
        element_type = self.schema.element(tag)
        plan = _ElementPlan(raw, element_type, old)
        prop = element_type.child_property
        name_of_children = None if prop is None else prop.name
        if body.get(ID) != old_body.get(ID):
            raise _NotPlannedError
        for name, value in body.items():
            if name not in (ID, name_of_children) and not (name in old_body and same_value(old_body[name], value)):
                plan.set[name] = parse_attribute(element_type, name, value, f"/{tag}")
        self.budget.change(len(plan.set))
        plan.removed += [name for name in old_body if name != name_of_children and name not in body]
        if prop is not None and body.get(prop.name) is not old_body[prop.name]:
            self._children(plan, old_body[prop.name], body.get(prop.name))
        return plan

    def _children(self, plan: _ElementPlan, old: list[Any], new: Any) -> None:
        if not isinstance(new, list) or plan.raw.len(self.txn) != len(old):
            raise _NotPlannedError
        start, end = _changed_range(old, new)
        end_new = end + len(new) - len(old)
        before, after = old[start:end], new[start:end_new]
        if len(before) == len(after) and all(map(_is_same_node, before, after)):
            raws = self.handles(plan.raw, start, end)
            for offset, (raw, one, other) in enumerate(zip(raws, before, after, strict=True)):
                if one is not other:
                    plan.children[start + offset] = self._child(raw, one, other)
        else:
            self.budget.compare(after)
            nodes = self._new_nodes(plan.element_type, before, after)
            plan.replaced = start, end, len(nodes)
            plan.replace = plan_range(self.txn, self.schema, plan.raw, (start, end), nodes, self.budget)

    def _child(self, raw: object, old: dict[str, Any], new: Any) -> _ElementPlan | _TextPlan:
        if is_text(raw) and is_text_json(old):
            target = TextNode(runs_from_json(new["text"]["delta"]))
            self.budget.edit_text(len(old["text"]["delta"]), len(target.runs))
            return _TextPlan(raw, target)
        if is_element(raw) and not is_text_json(old):
            return self._element(raw, old, new)
        raise _NotPlannedError

    def handles(self, parent: XmlContainer, start: int, end: int) -> Sequence[object]:
        """The children of an element from `start` to `end`, all of which are nodes."""
        if end - start > _MANY_CHILDREN:
            return parent.children(self.txn)[start:end]
        return [parent.get(self.txn, index) for index in range(start, end)]

    def _new_nodes(self, parent: ElementType, before: list[Any], after: list[Any]) -> list[ElementNode]:
        prop = parent.child_property
        if prop is None or prop.ordered or any(map(is_text_json, [*before, *after])):
            raise _NotPlannedError
        nodes = [parse_element(self.schema, child, allowed=prop.child_tag_names) for child in after]
        ids = [element_id for node in nodes for element_id in _ids(node)]
        gone = {element_id for child in before for element_id in _json_ids(child)}
        if len(set(ids)) != len(ids) or any(self._is_used(one) for one in ids if one not in gone):
            raise _NotPlannedError
        return nodes


def plan_change(change: JsonChange, old: dict[str, Any], new: Any) -> bool:
    """Plan a change from the current JSON form of the document to another one, which shares what it leaves as it is.

    Returns:
        Whether it can be made by parts.

    Raises:
        InvalidRequestError: The new form does not fit the schema.
        LimitExceededError: It is more than one change may be (`ChangeBudget`).
    """
    try:
        change.plan(old, new)
    except _NotPlannedError:
        return False
    return True


def without_ids(element: dict[str, Any], schema: MeshSchema, known: dict[int, Any], seen: dict[int, Any]) -> Any:
    """An element in its JSON form without ids, from that with ids.

    Args:
        element: The element, or a text node.
        schema: The schema of the document.
        known: Results of the last call, by the identity of the element.
        seen: Gets the results of this call.
    """
    entry = known.get(id(element))
    if entry is None or entry[0] is not element:
        [(tag, body)] = element.items()
        if is_text_json(element):
            entry = (element, element)
        else:
            plain = {name: value for name, value in body.items() if name != ID}
            element_type = schema.elements_by_tag_name.get(tag)
            prop = None if element_type is None else element_type.child_property
            if prop is not None:
                plain[prop.name] = [without_ids(child, schema, known, seen) for child in body[prop.name]]
            entry = (element, {tag: plain})
    seen[id(element)] = entry
    return entry[1]


def _changed_range(old: list[Any], new: list[Any]) -> tuple[int, int]:
    """The part of `old` between what is the same at the beginning and at the end of both."""
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and old[start] is new[start]:
        start += 1
    rest = shorter - start
    same = 0
    while same < rest and old[-1 - same] is new[-1 - same]:
        same += 1
    return start, len(old) - same


def _has_one_key(json: Any, tag: str) -> bool:
    return isinstance(json, dict) and len(json) == 1 and isinstance(json.get(tag), dict)


def _is_same_node(old: dict[str, Any], new: Any) -> bool:
    """Whether both are the same element, by `$id`, or both are texts."""
    [(tag, body)] = old.items()
    if not _has_one_key(new, tag):
        return False
    if is_text_json(old) or is_text_json(new):
        return is_text_json(old) and is_text_json(new)
    return body.get(ID) is not None and body.get(ID) == new[tag].get(ID)


def _ids(node: ElementNode) -> list[str]:
    found = []
    todo: list[Any] = [node]
    while todo:
        at = todo.pop()
        if isinstance(at, ElementNode):
            if at.attributes.get(ID) is not None:
                found.append(at.attributes[ID])
            todo += at.children
    return found


def _json_ids(json: Any) -> list[Any]:
    """All ids in the JSON form of an element."""
    found = []
    todo = [json]
    while todo:
        at = todo.pop()
        if isinstance(at, dict):
            if isinstance(at.get(ID), str):
                found.append(at[ID])
            todo += at.values()
        elif isinstance(at, list):
            todo += at
    return found
