"""The edge of the server: HTTP, the WebSocket shell and what guards them before anyone is known."""
