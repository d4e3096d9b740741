"""Channels under their public name (spec room-protocol 9.3)."""

from meshagent.api.transport.chan import Chan, ChanClosed, ChanEmpty, ChanFull, ChanReceiver, ChanSender

__all__ = ["Chan", "ChanClosed", "ChanEmpty", "ChanFull", "ChanReceiver", "ChanSender"]
