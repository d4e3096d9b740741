"""Hosting agents and tools behind HTTP, to be called into rooms (spec room-protocol 8.5)."""
