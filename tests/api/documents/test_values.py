"""Values that a document can hold, and offsets in its texts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.documents.crdt_doc import CrdtDoc
from meshagent.api.documents.values import check_value, clean_value, is_clean, same_value, utf8_offset
from meshagent.api.errors import InvalidRequestError
from tests.support.hypothesis_profiles import examples

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 2)
    | st.sampled_from([2**53 + 1, 2**60, -(2**63), 2**63 - 2])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@settings(max_examples=examples(100), deadline=None)
@given(json_values)
def test_a_value_that_is_accepted_comes_back_equal(value: Any) -> None:
    check_value(value, "value")
    doc = CrdtDoc()
    with doc.transaction() as txn:
        doc.root_map.insert(txn, "v", value)
    with doc.transaction() as txn:
        read = doc.root_map.get(txn, "v")
    assert is_clean(read)
    assert clean_value(read) == value


@pytest.mark.parametrize("value", [2**53, 2**53 + 1, 2**60, 10**18 + 1, -(2**63), 2**63 - 2, 2**62, 1, True, 1.5])
def test_a_value_keeps_its_type_in_every_copy(value: Any) -> None:
    check_value(value, "value")
    author, reader = CrdtDoc(), CrdtDoc()
    with author.transaction() as txn:
        author.root_map.insert(txn, "v", value)
    reader.apply(author.encode())
    for doc in (author, reader):
        with doc.transaction() as txn:
            read = clean_value(doc.root_map.get(txn, "v"))
        assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (True, 1, False),
        (0, False, False),
        (1, 1.0, True),
        ({"a": [1]}, {"a": [True]}, False),
        ({"a": [True]}, {"a": [True]}, True),
        ({"a": 1}, {"b": 1}, False),
        ([1], [1, 2], False),
    ],
)
def test_booleans_are_no_numbers(one: Any, other: Any, same: bool) -> None:
    assert same_value(one, other) == same_value(other, one) == same


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, {1: 2}, {1}, b"", float("nan"), object(), [["\ud800"]], {"\ud800": 1}]
)
def test_values_that_a_document_cannot_hold_are_refused(value: Any) -> None:
    with pytest.raises(InvalidRequestError):
        check_value(value, "value")


def test_nesting_has_a_limit() -> None:
    value: Any = None
    for _ in range(64):
        value = [value]
    check_value(value, "value")
    with pytest.raises(InvalidRequestError, match="64 levels"):
        check_value([value], "value")


@given(st.text(alphabet="aé€😀"), st.integers(0, 9))
def test_offsets_are_those_of_the_utf8_form(text: str, index: int) -> None:
    assert text.encode()[: utf8_offset(text, min(index, len(text)))].decode() == text[:index]
