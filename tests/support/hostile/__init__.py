"""Hostile clients: random and mutated input for every parser of the server, over its real sockets."""
