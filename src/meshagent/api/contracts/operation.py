"""What an operation is (a name, a request type, a result type, how data flows), and what an event is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

import msgspec

from meshagent.api.contracts.content import Body

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ResultT = TypeVar("ResultT", bound="msgspec.Struct | Body")
DataT = TypeVar("DataT", bound=msgspec.Struct)


class Kind(Enum):
    """Which side of a call is a stream."""

    UNARY = "unary"
    UPLOAD = "upload"
    DOWNLOAD = "download"
    DUPLEX = "duplex"


class Empty(msgspec.Struct, frozen=True):
    """The result of an operation that answers nothing, and the request of one that asks for nothing."""


EMPTY = Empty()


@dataclass(frozen=True, slots=True)
class Operation(Generic[RequestT, ResultT]):
    """One thing that a room can be asked to do.

    Attributes:
        name: `area.operation`; in the flat dialect also the type of the request message.
        request: Its input, as on the wire: unknown keys are ignored, nulls of optional keys count as absent.
        result: Its output: a struct travels as a `json` content, `Empty` as `empty`, a content as it is.
        kind: Which side is a stream.
    """

    name: str
    request: type[RequestT]
    result: type[ResultT]
    kind: Kind = Kind.UNARY

    @property
    def area(self) -> str:
        """The service that it belongs to, the name's first part."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Event(Generic[DataT]):
    """One thing that a room tells its participants without being asked.

    Attributes:
        name: In the flat dialect also the type of the message.
        data: Its header. What bytes its payload holds, if any, stands with the event.
    """

    name: str
    data: type[DataT]
