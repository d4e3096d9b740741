"""Hosting agents and tools behind HTTP, to be called into rooms (protocol 15.6)."""
