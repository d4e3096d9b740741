"""The invoke dialect of current clients: `room.invoke_tool` and streams, which lead to the same operation table.

Messages: protocol 14.
"""
