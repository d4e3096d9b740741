"""Rooms of this process, behind the ports of `rooms.handle`."""
