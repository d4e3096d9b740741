"""The invoke dialect of today's clients: `room.invoke_tool` and streams, onto the same operation table.

Spec: room-protocol-current 2.4 to 2.13 and section 3.
"""
