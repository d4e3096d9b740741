"""The flat dialect of the 0.5 generation: what it needs besides the operation table, whose names are its messages."""
