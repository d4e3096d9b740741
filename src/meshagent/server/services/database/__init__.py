"""The `database.*` operations of a room: tables with rows as JSON."""
