"""Updates that cut a character in two, as Yjs 13.6.33 wrote them, and what comes of them in all copies."""

from __future__ import annotations

from typing import Any

import pytest

from meshagent.api.documents.runtime import RuntimeDocument
from meshagent.api.documents.server_document import ServerDocument
from meshagent.api.documents.surrogates import SurrogatePairs
from meshagent.api.documents.update_format import write_varint
from meshagent.api.documents.update_scan import scan_update
from tests.support.crdt_peer import CrdtPeer
from tests.support.doc_schemas import page_schema

START = bytes.fromhex("01040100070103786d6c0304746578742800010003246964017701540700010006040001020761f09f9880626300")
"""The text `a😀bc` of author 1; its numbers are 3, 4 and 5, 6, 7."""

CUTS: dict[str, tuple[list[str], str, str]] = {  # updates, the writer's state after them, and what is left
    "the first half deleted": (
        ["000101010401"],
        "01060100070103786d6c03047465787428000100032469640177015407000100060400010201618101030184010405efbfbd6263010101"
        "0401",
        "abc",
    ),
    "the second half deleted": (
        ["000101010501"],
        "01060100070103786d6c0304746578742800010003246964017701540700010006040001020461efbfbd8101040184010502626301010"
        "10501",
        "abc",
    ),
    "one half after the other deleted": (
        ["000101010401", "000101010501"],
        "01060100070103786d6c0304746578742800010003246964017701540700010006040001020161810103028401050262630101010402",
        "abc",
    ),
    "the letter before it and the first half deleted": (
        ["000101010302"],
        "01050100070103786d6c0304746578742800010003246964017701540700010006010001020284010405efbfbd62630101010302",
        "bc",
    ),
    "the second half and the letter behind it deleted": (
        ["000101010502"],
        "01060100070103786d6c0304746578742800010003246964017701540700010006040001020461efbfbd8101040284010601630101010"
        "502",
        "ac",
    ),
    "a letter between the halves": (
        ["01010200c401040105015800"],
        "02010200c4010401050158050100070103786d6c0304746578742800010003246964017701540700010006040001020461efbfbd84010"
        "405efbfbd626300",
        "aXbc",
    ),
    "formatting up to the middle": (
        ["0102020046010301620474727565c6010401050162046e756c6c00"],
        "0202020046010301620474727565c6010401050162046e756c6c050100070103786d6c030474657874280001000324696401770154070"
        "0010006040001020461efbfbd84010405efbfbd626300",
        "abc",
    ),
}


def room() -> ServerDocument:
    document = ServerDocument(page_schema())
    assert document.apply(START).repair is None
    return document


def plain(json: dict[str, Any]) -> str:
    return "".join(run["insert"] for run in json["page"]["children"][0]["text"]["runs"][0]["text"]["delta"])


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_character_is_gone_from_all_copies_and_nothing_else(cut: str) -> None:
    updates, writer_state, left = CUTS[cut]
    document = room()
    participant = RuntimeDocument(page_schema(), data=START)
    stored = [START]
    writer = CrdtPeer()
    writer.receive(bytes.fromhex(writer_state))
    for raw in updates:
        result = document.apply(bytes.fromhex(raw))
        if result.update is not None:
            stored.append(result.update)
            participant.apply_update(result.update)
        if result.repair is not None:
            writer.receive(result.repair)
    assert plain(document.to_json()) == left
    assert participant.to_json() == document.to_json()
    for history in (stored, [document.encode_state()], [writer.doc.get_update()]):
        reader = ServerDocument(page_schema())
        reader.load(history)
        assert reader.to_json() == document.to_json()
    assert document.state_vector() == writer.doc.get_state()


def test_copies_of_another_make_end_equal_when_a_half_is_deleted() -> None:
    document = room()
    other = CrdtPeer(state=START)
    update = document.apply(bytes.fromhex("000101010501")).update
    assert update is not None
    other.receive(update)
    assert str(other.root) == '<text $id="T">abc</text>'


def test_a_character_that_is_cut_in_the_update_that_brings_it() -> None:
    """Editors merge what they wrote while they were offline."""
    document = ServerDocument(page_schema())
    document.apply(bytes.fromhex("01030100070103786d6c030474657874280001000324696401770154070001000600"))
    result = document.apply(bytes.fromhex("01020103040001020761f09f98806263c401040105015800"))
    assert plain(document.to_json()) == "aXbc"
    writer = CrdtPeer()
    writer.receive(
        bytes.fromhex(
            "01060100070103786d6c0304746578742800010003246964017701540700010006040001020461efbfbd84010405efbfbd6263c401"
            "040105015800"
        )
    )
    assert result.repair is not None
    writer.receive(result.repair)
    assert str(writer.root) == '<text $id="T">aXbc</text>'


def test_a_lone_half_that_was_typed_is_the_same_for_all() -> None:
    """Yjs sends it as U+FFFD, and shows the half; so the author gets U+FFFD in its place."""
    document = room()
    result = document.apply(bytes.fromhex("0101020044010303efbfbd00"))
    assert plain(document.to_json()) == "\ufffda😀bc"
    assert result.repair is not None
    author = CrdtPeer(state=START)
    author.receive(bytes.fromhex("0101020044010303efbfbd00"))
    author.receive(result.repair)
    assert str(author.root) == '<text $id="T">\ufffda😀bc</text>'
    deleted = scan_update(result.repair).deletions
    assert (2, 0, 1) in deleted
    typed = document.apply(bytes.fromhex("01010201c40200010302787900"))  # `xy` right behind it
    assert plain(document.to_json()) == "\ufffdxya😀bc"
    assert typed.repair is not None
    assert (2, 1, 2) in scan_update(typed.repair).deletions


def test_whole_characters_are_deleted_as_ever() -> None:
    document = room()
    result = document.apply(bytes.fromhex("000101010402"))
    assert result.repair is None
    assert plain(document.to_json()) == "abc"


def test_the_room_knows_pairs_of_its_own_edits_and_of_stored_history() -> None:
    document = room()
    changed = document.to_json(include_ids=True)
    changed["page"]["children"].append({"text": {"runs": [{"text": {"delta": [{"insert": "😀z"}]}}]}})
    update = document.patch_json(changed)
    assert update is not None
    [(author, [middle])] = scan_update(update).pairs.items()
    again = ServerDocument(page_schema())
    again.load([document.encode_state()])
    for copy in (document, again):
        before = copy.to_json()
        copy.apply(_deletion(author, middle))
        after = copy.to_json()
        assert after != before
        assert "z" in str(after)
        assert "\ufffd" not in str(after)


def _deletion(author: int, number: int) -> bytes:
    """An update that deletes one change."""
    return b"\x00\x01" + write_varint(author) + b"\x01" + write_varint(number) + b"\x01"


def test_pairs_are_found_whatever_the_order_they_come_in() -> None:
    pairs = SurrogatePairs()
    pairs.add({7: [9, 12]})
    pairs.add({7: [4, 9]})
    for middle, is_cut in ((4, True), (5, False), (9, True), (12, True), (13, False)):
        update = _deletion(7, middle)
        assert (pairs.cut(update, scan_update(update), {}) is not None) == is_cut
