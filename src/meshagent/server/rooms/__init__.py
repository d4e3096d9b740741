"""Rooms, their participants, and the connections that carry them."""
