"""Declarations of operations (name, request type, result type, kind of data flow) and of events."""

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
    """Which sides of a call are streams."""

    UNARY = "unary"
    UPLOAD = "upload"
    DOWNLOAD = "download"
    DUPLEX = "duplex"


class Empty(msgspec.Struct, frozen=True):
    """The result of an operation without a result, and the request of one without parameters."""


EMPTY = Empty()


@dataclass(frozen=True, slots=True)
class Operation(Generic[RequestT, ResultT]):
    """An operation that a room serves.

    Attributes:
        name: `area.operation`; in the flat dialect also the type of the request message.
        request: Its input: unknown keys are ignored, nulls of optional keys count as absent.
        result: Its output: a struct becomes a `json` content, `Empty` an `empty` one, a content is used as it is.
        kind: Which sides are streams.
    """

    name: str
    request: type[RequestT]
    result: type[ResultT]
    kind: Kind = Kind.UNARY

    @property
    def area(self) -> str:
        """The first part of the name."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Event(Generic[DataT]):
    """An event that a room sends to its participants.

    Attributes:
        name: In the flat dialect also the type of the message.
        data: Type of its header. A payload, if any, is documented at the event.
    """

    name: str
    data: type[DataT]
