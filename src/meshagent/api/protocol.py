"""The message layer under its public name (spec room-protocol 9.4)."""

from meshagent.api.transport.memory import MemoryClientProtocol, MemoryServerProtocol
from meshagent.api.transport.protocol import ClientProtocol, Message, MessageHandler, Protocol, compute_packets

__all__ = [
    "ClientProtocol",
    "MemoryClientProtocol",
    "MemoryServerProtocol",
    "Message",
    "MessageHandler",
    "Protocol",
    "compute_packets",
]
