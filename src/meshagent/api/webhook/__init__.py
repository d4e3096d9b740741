"""Webhooks: events that a server sends to a program's own HTTP address (spec room-protocol 8)."""
