"""Tells listeners which rooms start."""

from __future__ import annotations

from collections.abc import Callable

from meshagent.server.kernel.room_key import RoomKey

RoomStartListener = Callable[[RoomKey], None]
"""Takes a room whose first participant has come; must neither wait nor raise."""


class RoomStarts:
    """The listeners of one server; made before its rooms, and open to whatever runs beside the server."""

    def __init__(self) -> None:
        self._listeners: list[RoomStartListener] = []

    def listen(self, listener: RoomStartListener) -> None:
        """Tell `listener` of each room that starts from now on."""
        self._listeners.append(listener)

    def announce(self, key: RoomKey) -> None:
        """A room has started."""
        for listener in self._listeners:
            listener(key)
