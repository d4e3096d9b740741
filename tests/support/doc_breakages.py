"""Edits that a document's schema does not allow, as a careless or hostile client makes them.

They expect the schema of `tests.support.doc_schemas` and a `p`, a `box` and a `text` at the start of the document.
"""

from __future__ import annotations

from typing import Any

import pycrdt

from meshagent.api.documents.tree import MAX_DEPTH
from tests.support.crdt_peer import CrdtPeer

INSIDE_A_VALUE = b"\x01\x02\x01\x00" + b"\x28\x01\x03xml\x01a\x01\x78" + b"\x28\x00\x01\x00\x01b\x01\x78" + b"\x00"
"""Sets attribute a of the root, then attribute b of that value, which has none: the first change is applied alone."""


def unknown_tag(peer: CrdtPeer) -> None:
    peer.add("zzz", n=1)


def disallowed_child(peer: CrdtPeer) -> None:
    peer.add("p", peer.root.children[0], n=1)


def unknown_attribute(peer: CrdtPeer) -> None:
    peer.root.children[0].attributes["zzz"] = 1


def child_property_as_attribute(peer: CrdtPeer) -> None:
    peer.root.children[1].attributes["items"] = "x"


def unknown_root_attribute(peer: CrdtPeer) -> None:
    peer.root_map["zzz"] = 1


def root_id(peer: CrdtPeer) -> None:
    peer.root_map["$id"] = "root"


def text_in_the_root(peer: CrdtPeer) -> None:
    peer.root.children.append(pycrdt.XmlText("loose"))


def second_text_node(peer: CrdtPeer) -> None:
    text = next(child for child in peer.root.children if getattr(child, "tag", None) == "text")
    assert isinstance(text, pycrdt.XmlElement)
    text.children.append(pycrdt.XmlText("second"))


def embed_in_text(peer: CrdtPeer) -> None:
    text = peer.root.children[2].children[0]
    text.insert(0, "ab😀")
    text.insert_embed(6, {"image": 1})
    text.insert_embed(1, {"image": 2})


def attribute_of_text(peer: CrdtPeer) -> None:
    peer.root.children[2].children[0].attributes["x"] = 1


def bytes_as_value(peer: CrdtPeer) -> None:
    peer.root.children[0].attributes["n"] = b"\x00"


def shared_type_as_root_attribute(peer: CrdtPeer) -> None:
    peer.root_map["title"] = pycrdt.Map({"a": 1})


def list_items_in_the_tree(peer: CrdtPeer) -> None:
    array: pycrdt.Array[Any] = peer.doc.get("xml", type=pycrdt.Array)
    array.insert(1, {"a": 1})
    array.append("text")
    array.append(pycrdt.Map({"b": 1}))


def bad_subtree(peer: CrdtPeer) -> None:
    with peer.edit():
        box = peer.add("box")
        inner = peer.add("box", box)
        bad = peer.add("slide", inner)
        peer.add("p", bad)
        inner.attributes["zzz"] = "zzz"
        peer.add("text", inner).attributes["more"] = 1
        inner.children.append(pycrdt.XmlText("loose"))


def too_deep(peer: CrdtPeer) -> None:
    with peer.edit():
        box = peer.add("box")
        for _ in range(3 * MAX_DEPTH):
            box = peer.add("box", box)


BREAKAGES = [
    unknown_tag,
    disallowed_child,
    unknown_attribute,
    child_property_as_attribute,
    unknown_root_attribute,
    root_id,
    text_in_the_root,
    second_text_node,
    embed_in_text,
    attribute_of_text,
    bytes_as_value,
    shared_type_as_root_attribute,
    list_items_in_the_tree,
    bad_subtree,
    too_deep,
]
