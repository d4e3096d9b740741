"""Who is in a room."""

from __future__ import annotations

from meshagent.api.jsontext import Json

__all__ = ["Participant"]


class Participant:
    """Somebody in a room.

    Attributes:
        id: Identifies one stay in the room; coming back gives another.
    """

    def __init__(self, *, id: str, attributes: dict[str, Json]) -> None:
        self.id = id
        self._attributes = attributes

    def get_attribute(self, name: str) -> Json:
        """The value of an attribute; None if the participant has none of that name."""
        return self._attributes.get(name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.get_attribute('name')!r} {self.id}>"
