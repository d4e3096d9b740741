"""WebSocket connections under their public name (spec room-protocol 9.4)."""

from meshagent.api.transport.websocket import UpgradeRefusedError, WebSocketClientProtocol, WebSocketServerProtocol

__all__ = ["UpgradeRefusedError", "WebSocketClientProtocol", "WebSocketServerProtocol"]
