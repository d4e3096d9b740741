"""Changes of documents that come as JSON patches: pure functions from content to content."""

from __future__ import annotations

from typing import Any

import jsonpatch

from meshagent.api.errors import ConflictError, InvalidRequestError

__all__ = ["json_patched", "merge_patched"]


def json_patched(current: dict[str, Any], operations: list[Any]) -> dict[str, Any]:
    """What a JSON Patch (RFC 6902) makes of a content, which it leaves as it is.

    Raises:
        ConflictError: A `test` of the patch failed.
        InvalidRequestError: The patch cannot be applied, or leaves no object.
    """
    try:
        patched = jsonpatch.apply_patch(current, operations)
    except jsonpatch.JsonPatchTestFailed as error:
        raise ConflictError(f"a test of the patch failed: {error}") from None
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError) as error:
        raise InvalidRequestError(f"the patch cannot be applied: {error}") from None
    if not isinstance(patched, dict):
        raise InvalidRequestError("the patch leaves no document")
    return patched


def merge_patched(current: Any, change: Any) -> Any:
    """What a merge patch (RFC 7396) makes of a content: objects merge, null removes, everything else replaces."""
    if not isinstance(change, dict):
        return change
    merged = dict(current) if isinstance(current, dict) else {}
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patched(merged.get(key), value)
    return merged
