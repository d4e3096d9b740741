"""Schemas that every room has, deployed or not (protocol 7.2, 8.9, 17.1)."""

from __future__ import annotations

from functools import cache

from meshagent.api.documents.schema import ChildProperty, ElementProperty, ElementType, MeshSchema, ValueProperty

__all__ = ["builtin_schema", "builtin_schema_names"]


def builtin_schema_names() -> tuple[str, ...]:
    """Names (document extensions) of the built-in schemas."""
    return ("thread", "document", "presentation", "gallery", "schema")


@cache
def builtin_schema(name: str) -> MeshSchema | None:
    """The built-in schema of that name, `None` if there is none. Callers share it: do not change it."""
    match name:
        case "thread":
            return _thread()
        case "document":
            return _document()
        case "presentation":
            return _presentation()
        case "gallery":
            return _gallery()
        case "schema":
            return _schema()
        case _:
            return None


def _thread() -> MeshSchema:
    return MeshSchema(
        root_tag_name="thread",
        elements=[
            _element(
                "thread",
                "a conversation between people and agents",
                _text("name", "the name of the thread"),
                _children("properties", "members", "messages", ordered=True),
            ),
            _element("members", "the members of the thread", _children("items", "member")),
            _element("messages", "the messages, oldest first", _children("items", "message", "exec", "ui")),
            _element(
                "member",
                "a participant of the thread",
                _text("name", "the participant's name"),
                _text("type", "what kind of participant", enum=["user", "agent"]),
            ),
            _element(
                "message",
                "one message",
                _text("id", "identifies the message; streamed answers may have none"),
                _text("text", "what the message says"),
                _text("created_at", "when it was written: ISO 8601, UTC"),
                _text("author_name", "the name of the participant who wrote it"),
                _text("author_ref", "a reference to the author in another system"),
                _children("attachments", "file"),
            ),
            _element("file", "a file in room storage", _text("path", "the path of the file")),
            _element(
                "exec",
                "a shell command that an agent ran",
                _text("command", "the command line"),
                _text("result", "what it printed, once it has finished"),
                _text("pwd", "the working directory"),
            ),
            _element(
                "ui",
                "a widget that a client draws",
                _text("renderer", "the toolkit that renders it"),
                _text("widget", "the tool that renders it"),
                _text("data", "the widget's data as JSON"),
            ),
        ],
    )


def _document() -> MeshSchema:
    return MeshSchema(
        root_tag_name="document",
        elements=[
            _element("document", "a written document", _children("content", "heading", "body", "file")),
            _element("heading", "a heading", _text("text", "the heading's text")),
            _element("body", "a passage of text", _text("text", "the passage, in Markdown")),
            _element("file", "a file in room storage", _text("name", "the path of the file")),
        ],
    )


def _presentation() -> MeshSchema:
    return MeshSchema(
        root_tag_name="presentation",
        elements=[
            _element("presentation", "a series of slides", _children("slides", "slide")),
            _element(
                "slide",
                "one slide",
                _text("title", "the slide's title"),
                _text("background", "the background: a color or the path of an image"),
                _children("lines", "line"),
            ),
            _element("line", "one line of a slide", _text("line", "the line's text")),
        ],
    )


def _gallery() -> MeshSchema:
    return MeshSchema(
        root_tag_name="gallery",
        elements=[
            _element("gallery", "a collection of files", _children("content", "file")),
            _element(
                "file",
                "a file in room storage",
                _text("path", "the path of the file"),
                _text("description", "what it shows"),
            ),
        ],
    )


def _schema() -> MeshSchema:
    return MeshSchema(
        root_tag_name="schema",
        elements=[
            _element(
                "schema",
                "a document schema",
                _text("root_tag_name", "the tag of the root element"),
                _children("elements", "element"),
            ),
            _element(
                "element",
                "a kind of element",
                _text("tag_name", "its tag"),
                _text("description", "what it is for"),
                _children("schema", "attribute", "child_elements"),
            ),
            _element(
                "attribute",
                "an attribute of an element",
                _text("name", "its name"),
                _text("type", "the type of its value", enum=["string", "boolean", "number"]),
                _text("description", "what it is for"),
            ),
            _element(
                "child_elements",
                "the children of an element",
                _text("name", "the name of the child property"),
                _text("description", "what it is for"),
                _children("children", "element_reference"),
            ),
            _element("element_reference", "a tag that is allowed", _text("tag_name", "the tag")),
        ],
    )


def _element(tag_name: str, description: str, *properties: ElementProperty) -> ElementType:
    return ElementType(tag_name=tag_name, description=description, properties=properties)


def _text(name: str, description: str, enum: list[str] | None = None) -> ValueProperty:
    return ValueProperty(name=name, type="string", description=description, enum=enum)


def _children(name: str, *tag_names: str, ordered: bool = False) -> ChildProperty:
    return ChildProperty(name=name, child_tag_names=tag_names, ordered=ordered)
