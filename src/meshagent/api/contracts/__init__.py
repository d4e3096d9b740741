"""The operations of a room, each declared once: the server serves them and the SDK calls them by these types."""
