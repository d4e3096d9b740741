"""Small helpers for documents and their events."""

from __future__ import annotations

import pytest

from meshagent.api.documents.events import EventEmitter
from meshagent.api.documents.helpers import attributes_from_json, splice, str_slice, tag_name_from_json
from meshagent.api.errors import InvalidRequestError


def test_helpers() -> None:
    json = {"p": {"n": 1, "children": []}}
    assert tag_name_from_json(json) == "p"
    assert attributes_from_json(json) == {"n": 1}
    assert str_slice("abc", 1) == "bc"
    items = [1, 2, 3]
    assert splice(items, 1, 1, 8, 9) == [2]
    assert items == [1, 8, 9, 3]
    with pytest.raises(InvalidRequestError, match="one key"):
        tag_name_from_json({})


def test_handlers_are_called_in_order_until_they_are_removed(caplog: pytest.LogCaptureFixture) -> None:
    emitter, seen = EventEmitter(), []

    @emitter.on("changed")
    def fail(value: int) -> None:
        raise ValueError("the handler's own fault")

    @emitter.on("changed")
    def record(value: int) -> None:
        seen.append(value)
        emitter.off("changed", record)

    emitter.emit("changed", 1)
    emitter.emit("changed", 2)
    emitter.off("never", record)
    assert seen == [1]
    assert "the handler's own fault" in caplog.text
