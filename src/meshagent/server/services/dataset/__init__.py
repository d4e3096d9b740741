"""The `dataset.*` operations of a room: the same tables as `database`, with rows as Arrow data."""
