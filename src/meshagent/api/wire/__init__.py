"""The protocol core: packets, envelopes, contents, names. Bytes in, values out; no I/O, the same on both sides."""
