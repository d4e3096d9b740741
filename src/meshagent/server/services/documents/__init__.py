"""Structured documents that several participants edit at once (protocol 7)."""
