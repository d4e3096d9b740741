"""Structured documents that several participants edit at once (spec room-protocol 5.2)."""
