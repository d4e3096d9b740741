"""Calls on their way: who asked, who is to answer, and what happens when one of them leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from meshagent.api.errors import ConnectionLostError, RoomException
from meshagent.server.rooms.participant import Participant

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class _PendingCall(Generic[ResultT]):
    caller: Participant
    host: Participant
    what: str
    result: asyncio.Future[ResultT]


class PendingCalls(Generic[ResultT]):
    """Calls that wait for their hosts, by a key that the host's answer repeats."""

    def __init__(self) -> None:
        self._calls: dict[Hashable, _PendingCall[ResultT]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, key: Hashable, caller: Participant, host: Participant, what: str) -> asyncio.Future[ResultT]:
        """Wait for an answer; `what` names the call in errors."""
        result: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._calls[key] = _PendingCall(caller, host, what, result)
        return result

    def finish(self, key: Hashable, host: Participant, result: ResultT) -> bool:
        """Hand an answer over; False if `host` owes none under this key, or nobody waits for it any more."""
        call = self._take(key, host)
        if call is None or call.result.done():
            return False
        call.result.set_result(result)
        return True

    def fail(self, key: Hashable, host: Participant, error: RoomException) -> bool:
        """As `finish`, with a failure."""
        call = self._take(key, host)
        if call is None or call.result.done():
            return False
        call.result.set_exception(error)
        return True

    def left(self, participant: Participant) -> None:
        """Free the callers of a host that is gone, and forget the calls of a caller that is gone."""
        for key, call in list(self._calls.items()):
            if call.host is participant:
                del self._calls[key]
                if not call.result.done():
                    call.result.set_exception(
                        ConnectionLostError(f"{participant.name} left the room before it answered {call.what}")
                    )
            elif call.caller is participant:
                del self._calls[key]
                call.result.cancel()

    def _take(self, key: Hashable, host: Participant) -> _PendingCall[ResultT] | None:
        call = self._calls.get(key)
        if call is None or call.host is not host:
            return None
        del self._calls[key]
        return call
