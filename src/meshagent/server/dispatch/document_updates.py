"""Updates of documents in the form in which both dialects carry them."""

from __future__ import annotations

import base64

from meshagent.server.services.documents.ports import Update

__all__ = ["update_base64"]


def update_base64(update: Update) -> bytes:
    """The update as base64 text, encoded once for all subscribers."""
    return update.encoded("base64", _encode)


def _encode(update: Update) -> bytes:
    return base64.b64encode(update.data)
