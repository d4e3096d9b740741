"""Requests that the server itself makes, to addresses that users and operators name."""
