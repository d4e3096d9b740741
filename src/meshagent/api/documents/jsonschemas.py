"""Small JSON Schemas that tools and agents use to describe their arguments and answers."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

__all__ = ["merge", "no_arguments_schema", "prompt_schema", "validation_schema"]

JsonSchema = dict[str, Any]


def validation_schema(description: str) -> JsonSchema:
    """Schema of a validation result: `{is_valid: boolean, message: string}`."""
    return _closed_object(
        {
            "is_valid": {"type": "boolean"},
            "message": {"type": "string"},
        },
        description,
    )


def prompt_schema(description: str) -> JsonSchema:
    """Schema of `{prompt: string}`; `description` says what the prompt is for."""
    return _closed_object({"prompt": {"type": "string", "description": description}}, description)


def no_arguments_schema(description: str | None = None) -> JsonSchema:
    """Schema of an empty object."""
    return _closed_object({}, description)


def merge(*, schema: JsonSchema, additional_properties: dict[str, Any]) -> JsonSchema:
    """A deep copy of an object schema with more properties, all of them required."""
    merged = deepcopy(schema)
    properties = merged.setdefault("properties", {})
    required = merged.setdefault("required", [])
    for name, definition in additional_properties.items():
        properties[name] = deepcopy(definition)
        if name not in required:
            required.append(name)
    return merged


def _closed_object(properties: dict[str, Any], description: str | None) -> JsonSchema:
    schema: JsonSchema = {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }
    if description is not None:
        schema["description"] = description
    return schema
