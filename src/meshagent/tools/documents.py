"""Toolkits that read documents, and edit them with tools generated from their schema."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from meshagent.api.documents.nodes import Element, Text
from meshagent.api.documents.schema import ChildProperty, ElementType, MeshSchema, ValueProperty
from meshagent.api.documents.tree import TEXT_TAG
from meshagent.api.errors import NotFoundError
from meshagent.tools.context import ToolContext
from meshagent.tools.function_tool import function_tools
from meshagent.tools.tool import Tool, ToolResult
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.documents import MeshDocument

__all__ = ["DocumentAuthoringToolkit", "DocumentTypeAuthoringToolkit", "InsertElementTool"]


class DocumentAuthoringToolkit(Toolkit):
    """Tools for documents of any type: `open_document`, `close_document`, `get_document`,
    `remove_document_element`, `set_document_element_attribute`.

    A document does not have to be open: the other tools open it for the length of a call. `open_document` keeps it
    open until it is closed or the client leaves the room, which makes a series of edits faster.
    """

    def __init__(self) -> None:
        self._open_paths: WeakKeyDictionary[RoomClient, set[str]] = WeakKeyDictionary()
        super().__init__(
            name="documents",
            title="Documents",
            description="The structured documents of the room.",
            tools=function_tools(
                self._open_document,
                self._close_document,
                self._get_document,
                self._remove_document_element,
                self._set_document_element_attribute,
            ),
            rules=["Document elements are identified by their $id, which get_document returns."],
        )

    async def _open_document(self, context: ToolContext, path: str) -> dict[str, Any]:
        """Open a document, creating it if it does not exist, and return its content.

        Args:
            path: Path of the document. The extension determines its type.
        """
        open_paths = self._open_paths.setdefault(context.room, set())
        async with _opened(context.room, path, create=True) as document:
            if path not in open_paths:
                await context.room.sync.open(path)
                open_paths.add(path)
            return document.root.to_json(include_ids=True)

    async def _close_document(self, context: ToolContext, path: str) -> str:
        """Close a document that was opened with open_document.

        Args:
            path: Path of the document.
        """
        open_paths = self._open_paths.get(context.room, set())
        if path not in open_paths:
            return f"{path} is not open"
        open_paths.discard(path)
        await context.room.sync.close(path)
        return f"closed {path}"

    async def _get_document(self, context: ToolContext, path: str) -> dict[str, Any]:
        """Return the content of a document.

        Args:
            path: Path of the document.
        """
        async with _opened(context.room, path) as document:
            return document.root.to_json(include_ids=True)

    async def _remove_document_element(self, context: ToolContext, path: str, element_id: str) -> str:
        """Remove an element and its children from a document.

        Args:
            path: Path of the document.
            element_id: $id of the element.
        """
        async with _opened(context.room, path) as document:
            _element(document, element_id).delete()
        return "removed"

    async def _set_document_element_attribute(
        self, context: ToolContext, path: str, element_id: str | None, name: str, value: str | float | bool | None
    ) -> str:
        """Set an attribute of a document element.

        Args:
            path: Path of the document.
            element_id: $id of the element; null for the root.
            name: Name of the attribute.
            value: New value.
        """
        async with _opened(context.room, path) as document:
            _element(document, element_id).set_attribute(name, value)
        return "set"


class DocumentTypeAuthoringToolkit(Toolkit):
    """A tool `TYPE_insert_TAG` for each element type that can be inserted into documents of one type.

    Args:
        schema: Schema of the documents.
        document_type: Their file extension, such as `document`.
    """

    def __init__(self, *, schema: MeshSchema, document_type: str) -> None:
        self.schema = schema
        self.document_type = document_type
        super().__init__(
            name=f"{document_type}_authoring",
            title=f"Edit {document_type} documents",
            description=f"Inserts elements into .{document_type} documents.",
            tools=[
                InsertElementTool(document_type, element, parents)
                for element in schema.elements
                if (parents := _parents(schema, element.tag_name))
            ],
        )


class InsertElementTool(Tool):
    """Inserts elements of one type into documents.

    Args:
        document_type: File extension of the documents.
        element: The element type.
        parents: Tags of the elements that may contain it.
    """

    def __init__(self, document_type: str, element: ElementType, parents: list[str]) -> None:
        self._element = element
        parent_tags = " or ".join(parents)
        properties: dict[str, Any] = {
            "path": {"type": "string", "description": f"path of the document, ending in .{document_type}"},
            "parent_id": {"type": ["string", "null"], "description": f"$id of the {parent_tags}; null for the root"},
            "after_id": {"type": ["string", "null"], "description": "$id of the preceding element; null to append"},
            "attributes": _attributes_schema(element),
        }
        if element.tag_name == TEXT_TAG:
            properties["text"] = {"type": "string", "description": "text of the element"}
        super().__init__(
            name=f"{document_type}_insert_{element.tag_name}",
            title=f"Insert {element.tag_name}",
            description=f"Insert a {element.tag_name} element into a .{document_type} document."
            + (f" The element is: {element.description}" if element.description else ""),
            input_schema={
                "type": "object",
                "additionalProperties": False,
                "required": list(properties),
                "properties": properties,
            },
        )

    async def execute(self, context: ToolContext, *args: Any, **kwargs: Any) -> ToolResult:
        """Insert the element.

        Returns:
            `{"$id": …}`, which identifies the element in other tools.

        Raises:
            NotFoundError: The document has no such parent or sibling.
            MeshSchemaException: The schema does not allow the element there.
        """
        tag, attributes = self._element.tag_name, kwargs["attributes"]
        async with _opened(context.room, kwargs["path"], create=True) as document:
            parent = _element(document, kwargs["parent_id"])
            if kwargs["after_id"] is None:
                inserted = parent.append_child(tag, attributes)
            else:
                inserted = parent.insert_child_after(_element(document, kwargs["after_id"]), tag, attributes)
            for child in inserted.get_children():
                if isinstance(child, Text) and kwargs.get("text"):
                    child.insert(0, kwargs["text"])
            return {"$id": inserted.id}


@asynccontextmanager
async def _opened(room: RoomClient, path: str, *, create: bool = False) -> AsyncIterator[MeshDocument]:
    """Open a document for the length of a block. On exit the server has received all edits."""
    document = await room.sync.open(path, create=create)
    try:
        yield document
    finally:
        await room.sync.close(path)


def _element(document: MeshDocument, element_id: str | None) -> Element:
    root = document.root
    if element_id is None or element_id == root.id:
        return root
    found = root.get_node_by_id(element_id)
    if found is None:
        raise NotFoundError(f"document has no element {element_id!r}")
    return found


def _parents(schema: MeshSchema, tag: str) -> list[str]:
    """Return the tags of elements that accept such a child. Elements with a fixed sequence of children do not."""
    return [
        element.tag_name
        for element in schema.elements
        if isinstance(element.child_property, ChildProperty)
        and not element.child_property.ordered
        and element.allows_child(tag)
    ]


def _attributes_schema(element: ElementType) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for prop in element.properties:
        if isinstance(prop, ValueProperty):
            definition: dict[str, Any] = {"type": prop.type}
            if prop.enum is not None:
                definition["enum"] = prop.enum
            if prop.description:
                definition["description"] = prop.description
            properties[prop.name] = definition
    return {"type": "object", "additionalProperties": False, "required": [], "properties": properties}
