"""WebSocket connections that deliver whole messages and take pre-built frames; nothing here knows rooms."""
