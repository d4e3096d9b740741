"""`SchemaChecker`: validates JSON values against a JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshagent.api.errors import InvalidRequestError
from meshagent.api.jsontext import Json

__all__ = ["SchemaChecker"]


class SchemaChecker:
    """A JSON Schema, compiled on first use.

    References to other documents are never fetched, because a schema may come from an untrusted participant.

    Args:
        schema: A JSON Schema; draft 2020-12 unless its `$schema` says otherwise.
        subject: What is validated, for error messages, such as `arguments of add`.
    """

    def __init__(self, schema: Mapping[str, Any], *, subject: str) -> None:
        self._schema = dict(schema)
        self._subject = subject
        self._validator: Any = None

    def check(self, value: Json) -> None:
        """Validate `value`.

        Raises:
            InvalidRequestError: The value does not match the schema, or the schema is invalid. The text names the first
                error and its location.
        """
        import jsonschema
        import referencing.exceptions

        try:
            error = jsonschema.exceptions.best_match(self._compiled().iter_errors(value))
        except jsonschema.exceptions.SchemaError as wrong:
            raise InvalidRequestError(f"invalid schema for the {self._subject}: {wrong.message}") from None
        except referencing.exceptions.Unresolvable as wrong:
            message = f"invalid schema for the {self._subject}: it does not define {wrong.ref!r}"
            raise InvalidRequestError(message) from None
        if error is not None:
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
            place = f" at {where.lstrip('.')}" if where else ""
            raise InvalidRequestError(f"invalid {self._subject}{place}: {_shortened(error.message)}")

    def _compiled(self) -> Any:
        if self._validator is None:
            import jsonschema
            import referencing

            kind = jsonschema.validators.validator_for(self._schema, default=jsonschema.Draft202012Validator)
            kind.check_schema(self._schema)
            self._validator = kind(self._schema, registry=referencing.Registry())
        return self._validator


def _shortened(text: str, limit: int = 500) -> str:
    """Truncate a message: jsonschema quotes the value, which may be a whole file."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
