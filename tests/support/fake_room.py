"""A room without sockets: what services see of one, with everything they published."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import Event, Operation
from meshagent.api.errors import RoomException
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE, ApiScope
from meshagent.api.tokens.token import ParticipantToken
from meshagent.server.kernel.admission import Admission
from meshagent.server.kernel.context import PendingDelivery, RoomContext, RoomService
from meshagent.server.kernel.operations import ServedOperation
from meshagent.server.kernel.participant import Outbox, Participant

Res = TypeVar("Res", bound="msgspec.Struct | Body")
DataT = TypeVar("DataT", bound=msgspec.Struct)


class FakeOutbox(Outbox):
    """Keeps what was delivered; `is_alive` false is a connection that ended."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.disconnected: tuple[int, str] | None = None
        self.is_alive = True

    def deliver(self, frames: bytes) -> None:
        self.frames.append(frames)

    async def sent(self) -> bool:
        return self.is_alive

    def disconnect(self, code: int, reason: str) -> None:
        self.disconnected = (code, reason)
        self.is_alive = False


def fake_participant(
    name: str = "alice",
    *,
    role: str = "user",
    scope: ApiScope = FULL_ROOM_SCOPE,
    participant_id: str | None = None,
) -> Participant:
    """A participant whose id is `name-id` unless another is given."""
    return Participant(
        participant_id=participant_id or f"{name}-id",
        name=name,
        role=role,
        scope=scope,
        outbox=FakeOutbox(),
        project_id="project",
    )


def fake_admission(
    name: str = "alice", *, role: str = "user", scope: ApiScope = FULL_ROOM_SCOPE, key_id: str | None = None
) -> Admission:
    """Somebody whose token was accepted."""
    return Admission(
        project_id="project", key_id=key_id, name=name, role=role, scope=scope, token=ParticipantToken(name=name)
    )


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """One event that a service published; `header` as its receivers decode it, `to` the receivers' ids."""

    message_type: str
    header: Any
    payload: bytes
    to: tuple[str, ...]


@dataclass(slots=True)
class FakeRoom(RoomContext):
    """A room that records; participants come with `join` and go with `leave`."""

    name: str = "room"
    project_id: str = "project"
    session_id: str = "session"
    url: str = "ws://localhost/rooms/room"
    participants: dict[str, Participant] = field(default_factory=dict)
    events: list[PublishedEvent] = field(default_factory=list)
    recorded: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    last_message_id: int = 0

    def join(self, participant: Participant | None = None) -> Participant:
        """Let somebody in."""
        participant = participant or fake_participant()
        self.participants[participant.id] = participant
        return participant

    def leave(self, participant: Participant, *services: RoomService) -> None:
        """Let somebody go, and tell `services`, as a lost connection does."""
        del self.participants[participant.id]
        for service in services:
            service.left(participant)

    def publish(
        self,
        event: Event[DataT],
        data: DataT,
        payload: bytes = b"",
        *,
        to: Iterable[Participant] | None = None,
    ) -> int:
        receivers = list(self.participants.values()) if to is None else list(to)
        decoded = jsontext.loads(jsontext.dumps(data))
        self.events.append(PublishedEvent(event.name, decoded, payload, tuple(p.id for p in receivers)))
        self.last_message_id += 1
        return self.last_message_id

    def reply(self, event: Event[DataT], data: DataT, *, to: Participant) -> None:
        self.publish(event, data, to=[to])

    def offer(
        self, event: Event[DataT], data: DataT, payload: bytes, *, to: Sequence[Participant]
    ) -> Sequence[PendingDelivery]:
        self.publish(event, data, payload, to=to)
        return []

    def record(self, entry_type: str, data: Mapping[str, Any]) -> None:
        self.recorded.append((entry_type, data))

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def take_events(self) -> list[PublishedEvent]:
        """What was published since the last call."""
        events, self.events = self.events, []
        return events

    async def settle(self) -> None:
        """Wait for all spawned tasks; the first failure is raised."""
        while tasks := set(self.tasks):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()


def start_operation(
    served: Iterable[ServedOperation],
    operation: Operation[Any, Res],
    caller: Participant,
    request: msgspec.Struct,
    payload: bytes = b"",
) -> asyncio.Future[Res]:
    """Call an operation as the dispatcher does, grant check included; errors come with the future."""
    entry = next(entry for entry in served if entry.operation is operation)
    answer: asyncio.Future[Res] = asyncio.get_running_loop().create_future()
    try:
        if entry.grant is not None:
            entry.grant(caller.scope, request)
        result = entry.handler(caller, request, payload)
    except RoomException as error:
        answer.set_exception(error)
        return answer
    if asyncio.isfuture(result) or asyncio.iscoroutine(result):
        return asyncio.ensure_future(result)
    answer.set_result(result)
    return answer
