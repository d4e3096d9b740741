"""Webhooks: events that a server sends to a program's own HTTP address (protocol 15)."""
