"""`sample_value`: a minimal value that fits a JSON Schema, which the scripted model returns as structured output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["sample_value"]

MAX_DEPTH: Final = 20
MAX_VALUES: Final = 1000
MAX_LENGTH: Final = 1000


def sample_value(schema: object) -> Any:
    """Return a minimal value that fits a schema. Supports objects, arrays, enums, references and scalar types.

    Schemas come from untrusted clients, so the size and depth of the value are limited. A truncated value may not fit.
    """
    return _Builder(schema).build(schema, 0)


class _Builder:
    def __init__(self, root: object) -> None:
        self._root = root
        self._left = MAX_VALUES

    def build(self, schema: object, depth: int) -> Any:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0 or not isinstance(schema, Mapping):
            return None
        if isinstance(reference := schema.get("$ref"), str):
            return self.build(self._resolved(reference), depth + 1)
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        for key in ("enum", "anyOf", "oneOf"):
            if isinstance(choices := schema.get(key), list) and choices:
                return choices[0] if key == "enum" else self.build(choices[0], depth + 1)
        return self._of_type(schema, depth)

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "null")
        match kind[0] if isinstance(kind, list) and kind else kind:
            case "object":
                properties = schema.get("properties")
                known = properties if isinstance(properties, Mapping) else {}
                required = schema.get("required")
                names = required if isinstance(required, list) else []
                return {str(name): self.build(known.get(str(name), {}), depth + 1) for name in names[:MAX_LENGTH]}
            case "array":
                return [self.build(schema.get("items"), depth + 1) for _ in range(_count(schema.get("minItems")))]
            case "string":
                return "x" * _count(schema.get("minLength"))
            case "boolean":
                return False
            case "integer" | "number":
                least = schema.get("minimum")
                return least if isinstance(least, (int, float)) else 0
        return None

    def _resolved(self, reference: str) -> object:
        """Return the schema that a local `$ref` points to."""
        target = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            target = target.get(part) if isinstance(target, Mapping) else None
        return target


def _count(value: object) -> int:
    return min(value, MAX_LENGTH) if isinstance(value, int) and value > 0 else 0
