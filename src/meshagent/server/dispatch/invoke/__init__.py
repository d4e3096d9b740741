"""The invoke dialect of today's clients: `room.invoke_tool` and streams, onto the same operation table.

Messages: protocol 14.
"""
