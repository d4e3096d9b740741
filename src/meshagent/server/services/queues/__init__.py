"""Queues of a room: named, durable, first in first out (protocol 10)."""

from __future__ import annotations

from meshagent.server.services.queues.open_queue import MAX_NAME_LENGTH
from meshagent.server.services.queues.service import QueuesService

__all__ = ["MAX_NAME_LENGTH", "QueuesService"]
