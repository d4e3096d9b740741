"""Helpers for JSON Schemas under their public names (spec room-protocol 9.8)."""

from meshagent.api.documents.jsonschemas import merge, no_arguments_schema, prompt_schema, validation_schema

__all__ = ["merge", "no_arguments_schema", "prompt_schema", "validation_schema"]
