"""Checks of JSON values against JSON Schemas, with errors that say what is wrong and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshagent.api.errors import InvalidRequestError
from meshagent.api.jsontext import Json

__all__ = ["SchemaChecker"]


class SchemaChecker:
    """One JSON Schema, compiled when it is first used.

    References to other documents are never fetched: a schema may come from a stranger.

    Args:
        schema: A JSON Schema; draft 2020-12 unless its `$schema` says otherwise.
        subject: What is checked, as errors call it, such as `the arguments of add`.
    """

    def __init__(self, schema: Mapping[str, Any], *, subject: str) -> None:
        self._schema = dict(schema)
        self._subject = subject
        self._validator: Any = None

    def check(self, value: Json) -> None:
        """Do nothing if `value` fits.

        Raises:
            InvalidRequestError: It does not fit, or the schema is none; the text names the first place.
        """
        import jsonschema
        import referencing.exceptions

        try:
            error = jsonschema.exceptions.best_match(self._compiled().iter_errors(value))
        except jsonschema.exceptions.SchemaError as wrong:
            raise InvalidRequestError(f"the schema of {self._subject} is wrong: {wrong.message}") from None
        except referencing.exceptions.Unresolvable as wrong:
            raise InvalidRequestError(
                f"the schema of {self._subject} refers to {wrong.ref!r}, which it lacks"
            ) from None
        if error is not None:
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
            place = f" at {where.lstrip('.')}" if where else ""
            raise InvalidRequestError(f"{self._subject} do not fit the schema{place}: {_shortened(error.message)}")

    def _compiled(self) -> Any:
        if self._validator is None:
            import jsonschema
            import referencing

            kind = jsonschema.validators.validator_for(self._schema, default=jsonschema.Draft202012Validator)
            kind.check_schema(self._schema)
            self._validator = kind(self._schema, registry=referencing.Registry())
        return self._validator


def _shortened(text: str, limit: int = 500) -> str:
    """Messages repeat the value, which may be a whole file."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
