"""Which tables fail, as the health of the server's part `tables`."""

from __future__ import annotations

from meshagent.server.stores.health import HealthMonitor

__all__ = ["TableHealth"]

_COMPONENT = "tables"


class TableHealth:
    """The part fails while any table does.

    A table fails when the disk refuses it or the engine breaks on it, not when a request is wrong. It works again
    when a write to it succeeds; where only reading failed, a read is enough.
    """

    def __init__(self, health: HealthMonitor) -> None:
        self._health = health
        self._failing: dict[tuple[str, str], bool] = {}

    def failed(self, room: str, table: str, error: BaseException, *, writing: bool) -> None:
        """A call on a table failed for no fault of its caller's."""
        place = (room, table)
        self._failing[place] = self._failing.get(place, False) or writing
        self._health.report_failure(_COMPONENT, RuntimeError(f"table {table!r} in {room}: {error}"))

    def works(self, room: str, table: str, *, writing: bool) -> None:
        """A call on a table succeeded."""
        place = (room, table)
        if self._failing and place in self._failing and (writing or not self._failing[place]):
            del self._failing[place]
        if not self._failing:
            self._health.report_success(_COMPONENT)

    def forget_room(self, room: str) -> None:
        """The room and its tables are gone."""
        for place in [place for place in self._failing if place[0] == room]:
            del self._failing[place]
        if not self._failing:
            self._health.report_success(_COMPONENT)
