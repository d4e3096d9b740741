"""The document runtime under its public names (spec room-protocol 9.10)."""

from meshagent.api.documents.runtime import DocumentRuntime, RuntimeDocument, runtime

__all__ = ["DocumentRuntime", "RuntimeDocument", "runtime"]
