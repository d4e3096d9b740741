"""Changes of documents that come as JSON patches: pure functions from content to content.

What a change does not touch is the same object before and after it, so that finding the difference is cheap.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from meshagent.api.documents.change_budget import ChangeTooLargeError
from meshagent.api.documents.values import same_value
from meshagent.api.errors import ConflictError, InvalidRequestError

__all__ = ["MAX_COPIED_VALUES", "MAX_OPERATIONS", "MAX_SHIFTED_ITEMS", "json_patched", "merge_patched"]

MAX_OPERATIONS: Final = 10_000
"""How many operations one JSON Patch may have."""
MAX_COPIED_VALUES: Final = 250_000
"""How many values the `copy` operations of one JSON Patch may add together."""

MAX_SHIFTED_ITEMS: Final = 100_000_000
"""How many items of lists the operations of one JSON Patch may shift together, each by an insertion or a removal."""


def json_patched(current: dict[str, Any], operations: list[Any]) -> dict[str, Any]:
    """What a JSON Patch (RFC 6902) makes of a content, which it leaves as it is.

    Raises:
        ConflictError: A `test` of the patch failed.
        InvalidRequestError: The patch cannot be applied, or leaves no object.
        ChangeTooLargeError: It has more than `MAX_OPERATIONS`, copies more than `MAX_COPIED_VALUES`, or shifts more
            than `MAX_SHIFTED_ITEMS`.
    """
    if len(operations) > MAX_OPERATIONS:
        raise ChangeTooLargeError(f"a patch may have {MAX_OPERATIONS} operations at most", limit=MAX_OPERATIONS)
    patch = _JsonPatch(current)
    for operation in operations:
        patch.apply(operation)
    if not isinstance(patch.content, dict):
        raise InvalidRequestError("the patch leaves no document")
    return patch.content


class _JsonPatch:
    """A content on its way through a patch. Objects and lists are copied before their first change."""

    def __init__(self, content: Any) -> None:
        self.content = content
        self._own: dict[int, Any] = {}
        self._may_copy = MAX_COPIED_VALUES
        self._may_shift = MAX_SHIFTED_ITEMS

    def apply(self, operation: Any) -> None:
        if not isinstance(operation, dict) or not isinstance(kind := operation.get("op"), str):
            raise _inapplicable("an operation is an object with `op`")
        path = _pointer(operation, "path")
        if kind in ("add", "replace", "test") and "value" not in operation:
            raise _inapplicable(f"`{kind}` needs a `value`")
        match kind:
            case "add":
                self._add(path, operation["value"])
            case "remove":
                self._remove(path)
            case "replace":
                self._replace(path, operation["value"])
            case "test":
                self._test(path, operation)
            case "move":
                self._move(_pointer(operation, "from"), path)
            case "copy":
                self._add(path, self._copy(self._at(_pointer(operation, "from"))))
            case _:
                raise _inapplicable(f"there is no operation {kind!r:.80}")

    def _test(self, path: list[str], operation: dict[str, Any]) -> None:
        try:
            passes = same_value(self._at(path), operation["value"])
        except InvalidRequestError:
            passes = False
        if not passes:
            raise ConflictError(f"a test of the patch failed: {operation['path']!r:.200} has another value")

    def _move(self, source: list[str], path: list[str]) -> None:
        if path[: len(source)] == source and len(path) > len(source):
            raise _inapplicable("a value cannot be moved into itself")
        value = self._at(source)
        if path != source:
            self._remove(source)
            self._add(path, value)

    def _add(self, path: list[str], value: Any) -> None:
        if not path:
            self.content = value
            return
        parent, key = self._owned(path[:-1]), path[-1]
        if isinstance(parent, list):
            index = len(parent) if key == "-" else _index(key, len(parent) + 1)
            self._shift(len(parent) - index)
            parent.insert(index, value)
        elif isinstance(parent, dict):
            parent[key] = value
        else:
            raise _inapplicable(f"nothing can be added at {key!r:.80}")

    def _remove(self, path: list[str]) -> None:
        if not path:
            raise _inapplicable("the whole document cannot be removed")
        self._at(path)
        parent, key = self._owned(path[:-1]), path[-1]
        if isinstance(parent, list):
            index = _index(key, len(parent))
            self._shift(len(parent) - index)
            parent.pop(index)
        else:
            del parent[key]

    def _shift(self, count: int) -> None:
        self._may_shift -= count
        if self._may_shift < 0:
            raise ChangeTooLargeError(
                f"the operations of a patch may shift {MAX_SHIFTED_ITEMS} items of lists at most; split the change",
                limit=MAX_SHIFTED_ITEMS,
            )

    def _replace(self, path: list[str], value: Any) -> None:
        if not path:
            self.content = value
            return
        self._at(path)
        parent, key = self._owned(path[:-1]), path[-1]
        parent[_index(key, len(parent)) if isinstance(parent, list) else key] = value

    def _at(self, path: list[str]) -> Any:
        value = self.content
        for key in path:
            value = _child(value, key)
        return value

    def _owned(self, path: list[str]) -> Any:
        """The value at a path, which may be changed: it and what it is in are copies."""
        value = self.content = self._own_copy(self.content)
        for key in path:
            child = self._own_copy(_child(value, key))
            value[_index(key, len(value)) if isinstance(value, list) else key] = child
            value = child
        return value

    def _own_copy(self, value: Any) -> Any:
        if id(value) in self._own or not isinstance(value, (dict, list)):
            return value
        made = copy.copy(value)
        self._own[id(made)] = made
        return made

    def _copy(self, value: Any) -> Any:
        todo = [value]
        while todo:
            self._may_copy -= 1
            if self._may_copy < 0:
                raise ChangeTooLargeError(
                    f"a patch may copy {MAX_COPIED_VALUES} values at most", limit=MAX_COPIED_VALUES
                )
            item = todo.pop()
            todo += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        return copy.deepcopy(value)


def _pointer(operation: dict[str, Any], name: str) -> list[str]:
    """The keys of a JSON Pointer (RFC 6901)."""
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise _inapplicable(f"`{name}` must be empty or begin with a slash")
    return [key.replace("~1", "/").replace("~0", "~") for key in text.split("/")[1:]]


def _child(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return value[_index(key, len(value))]
    if not isinstance(value, dict) or key not in value:
        raise _inapplicable(f"there is no {key!r:.80}")
    return value[key]


def _index(key: str, size: int) -> int:
    """A position below `size`."""
    if not (key.isascii() and key.isdigit()) or (key[0] == "0" and key != "0") or len(key) > 10 or int(key) >= size:
        raise _inapplicable(f"there is no item {key!r:.80}")
    return int(key)


def _inapplicable(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"the patch cannot be applied: {reason}")


def merge_patched(current: Any, change: Any) -> Any:
    """What a merge patch (RFC 7396) makes of a content: objects merge, null removes, everything else replaces."""
    if not isinstance(change, dict):
        return change
    merged = dict(current) if isinstance(current, dict) else {}
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patched(merged.get(key), value)
    return merged
