"""Transports: what carries packets between a client and a room, and the message layer on top of them."""
