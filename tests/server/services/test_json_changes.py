"""JSON Patch on documents: the same as another implementation of RFC 6902, within bounds, and sharing what is left."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.errors import ConflictError, InvalidRequestError, LimitExceededError, RoomException
from meshagent.server.services.documents.json_changes import MAX_COPIED_VALUES, MAX_OPERATIONS, json_patched
from tests.support.hypothesis_profiles import examples

keys = st.sampled_from(["a", "b", "~", "/", "0"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(2, 4) | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
pointers = st.lists(keys.map(lambda key: key.replace("~", "~0").replace("/", "~1")) | st.sampled_from(["1", "-", "2"]))
paths = pointers.map(lambda parts: "".join(f"/{part}" for part in parts[:4]))
operations = st.one_of(
    st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "test"]), "path": paths, "value": values}),
    st.fixed_dictionaries({"op": st.just("remove"), "path": paths}),
    st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "path": paths, "from": paths}),
)


def outcome(content: Any, patch: list[Any], apply: Any) -> Any:
    try:
        return apply(content, patch)
    except (ConflictError, jsonpatch.JsonPatchTestFailed):
        return ConflictError
    except (RoomException, jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError):
        return InvalidRequestError


def by_the_other_one(content: Any, patch: list[Any]) -> Any:
    result = jsonpatch.apply_patch(copy.deepcopy(content), patch)
    if not isinstance(result, dict):
        raise InvalidRequestError("no document")
    return result


def with_types(value: Any) -> Any:
    """A value that differs from others where JSON does: `True` is not 1."""
    if isinstance(value, dict):
        return {key: with_types(item) for key, item in value.items()}
    return [with_types(item) for item in value] if isinstance(value, list) else (type(value), value)


@settings(max_examples=examples(400), deadline=None)
@given(st.dictionaries(keys, values, max_size=4), st.lists(operations, max_size=4))
def test_patches_do_what_another_implementation_does(content: dict[str, Any], patch: list[Any]) -> None:
    before = copy.deepcopy(content)
    result = outcome(content, patch, json_patched)
    assert with_types(content) == with_types(before)
    expected = outcome(content, patch, by_the_other_one)
    if isinstance(result, dict) and isinstance(expected, dict):
        assert with_types(result) == with_types(expected)
    else:
        assert result is expected


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ("remove", "an object with `op`"),
        ({"path": "/a"}, "an object with `op`"),
        ({"op": "add", "path": "/b"}, "needs a `value`"),
        ({"op": "add", "path": "b", "value": 1}, "begin with a slash"),
        ({"op": "add", "path": "/list/01", "value": 1}, "there is no item"),
        ({"op": "add", "path": "/list/4", "value": 1}, "there is no item"),
        ({"op": "add", "path": "/a/b", "value": 1}, "nothing can be added"),
        ({"op": "remove", "path": "/list/-"}, "there is no item"),
        ({"op": "remove", "path": "/x"}, "there is no 'x'"),
        ({"op": "remove", "path": ""}, "the whole document"),
        ({"op": "replace", "path": "/x/y", "value": 1}, "there is no 'x'"),
        ({"op": "move", "path": "/list/0", "from": "/list"}, "into itself"),
        ({"op": "copy", "path": "/x"}, "`from`"),
        ({"op": "turn", "path": "/a"}, "no operation 'turn'"),
        ({"op": "replace", "path": "", "value": []}, "leaves no document"),
    ],
)
def test_what_cannot_be_applied_is_refused(operation: Any, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        json_patched({"a": 1, "list": [1, 2, 3]}, [operation])


def test_what_a_patch_leaves_is_shared() -> None:
    content: dict[str, Any] = {"page": {"children": [{"p": {"n": number}} for number in range(5)], "other": [1]}}
    patched = json_patched(content, [{"op": "replace", "path": "/page/children/2/p/n", "value": 9}])
    pairs = zip(content["page"]["children"], patched["page"]["children"], strict=True)
    assert [one is other for one, other in pairs] == [True, True, False, True, True]
    assert patched["page"]["other"] is content["page"]["other"]
    assert content["page"]["children"][2] == {"p": {"n": 2}}


def test_patches_are_bounded_in_operations_and_in_what_they_copy() -> None:
    one = {"op": "add", "path": "/a", "value": 1}
    assert json_patched({}, [one] * MAX_OPERATIONS) == {"a": 1}
    with pytest.raises(LimitExceededError, match="operations at most"):
        json_patched({}, [one] * (MAX_OPERATIONS + 1))
    doubling = [{"op": "copy", "from": "/a", "path": "/a/-"}]
    steps = MAX_COPIED_VALUES.bit_length() - 1
    json_patched({"a": [1]}, doubling * (steps - 2))
    with pytest.raises(LimitExceededError, match="values at most"):
        json_patched({"a": [1]}, doubling * (steps + 1))


def test_what_a_patch_shifts_in_lists_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshagent.server.services.documents.json_changes.MAX_SHIFTED_ITEMS", 1_000)
    content = {"a": list(range(100))}
    json_patched(content, [{"op": "remove", "path": "/a/0"}] * 10)
    json_patched(content, [{"op": "move", "from": "/a/99", "path": "/a/99"}] * 500)
    json_patched(content, [{"op": "add", "path": "/a/-", "value": 1}] * 500)
    for operation in (
        {"op": "remove", "path": "/a/0"},
        {"op": "add", "path": "/a/0", "value": 1},
        {"op": "move", "from": "/a/0", "path": "/a/-"},
    ):
        with pytest.raises(LimitExceededError, match="split the change"):
            json_patched(content, [operation] * 12)
