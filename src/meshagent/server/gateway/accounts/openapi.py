"""The OpenAPI 3.1 document of the accounts API, made from the same table of routes that serves it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from meshagent.api.version import __version__
from meshagent.server.gateway.accounts.rest_route import Access, RawBody, Route

_REFERENCES: Final = "#/components/schemas/{model}"
_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "description": "Stable name of the kind of failure."},
                "message": {"type": "string", "description": "What is wrong, for people."},
            },
        }
    },
}
_FAILURES: Final = {
    400: "The request is wrong in itself.",
    401: "No bearer token, or a bad one.",
    403: "The caller may not do this.",
    404: "Something that the request names does not exist.",
    409: "The name is taken, or the state does not allow it.",
    413: "The body is too large.",
    503: "The server cannot do this right now.",
}
_PARAMETER: Final = re.compile(r"{(\w+)}")

_Mode = Literal["validation", "serialization"]


def openapi_document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document."""
    table = list(routes)
    used = list(_models(table))
    references, definitions = models_json_schema(used, ref_template=_REFERENCES, schema_generator=GenerateJsonSchema)
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "openmeshagent accounts",
            "version": __version__,
            "description": "Projects, people, keys, rooms and their sessions. Authorisation is a bearer token: the "
            "server's administrator token, a user's token, or a project's API key.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}) | {"Error": _ERROR},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _models(table: list[Route]) -> Iterator[tuple[type[BaseModel], _Mode]]:
    seen: set[tuple[type[BaseModel], _Mode]] = set()
    for route in table:
        pairs: list[tuple[type[BaseModel] | None, _Mode]] = [
            (route.body, "validation"),
            (route.answer, "serialization"),
        ]
        for model, mode in pairs:
            if model is not None and model is not RawBody and (model, mode) not in seen:
                seen.add((model, mode))
                yield model, mode


def _operation(route: Route, references: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"For {route.access.value}.",
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": _responses(route, references),
    }
    if route.access is not Access.PUBLIC:
        operation["security"] = [{"bearer": []}]
    if route.body is RawBody:
        operation["requestBody"] = {"content": {"application/octet-stream": {}}, "required": True}
    elif route.body is not None:
        schema = references[(route.body, "validation")]
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}, "required": True}
    return operation


def _path_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in _PARAMETER.findall(route.path):
        schema = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(route: Route) -> Iterator[dict[str, Any]]:
    if route.query is None:
        return
    schema = route.query.model_json_schema()
    required = schema.get("required", ())
    for name, member in schema["properties"].items():
        yield {"name": name, "in": "query", "required": name in required, "schema": member}


def _responses(route: Route, references: Any) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done."}
    if route.answer is RawBody:
        success["content"] = {"application/octet-stream": {}}
    elif route.answer is not None:
        schema = references[(route.answer, "serialization")]
        success["content"] = {"application/json": {"schema": schema}}
    error = {"application/json": {"schema": {"$ref": _REFERENCES.format(model="Error")}}}
    failures = {
        str(status): {"description": text, "content": error}
        for status, text in _FAILURES.items()
        if _may(route, status)
    }
    return {str(route.status): success} | failures


def _may(route: Route, status: int) -> bool:
    public = route.access is Access.PUBLIC
    return not (public and status in (401, 403)) and not (route.body is None and status == 413)
