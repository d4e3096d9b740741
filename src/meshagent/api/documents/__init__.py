"""Documents: schemas, the tree they describe, and its mapping onto a CRDT. No I/O, no event loop.

`ServerDocument` is what a room holds for each open document, `RuntimeDocument` what a client holds.
Source: protocol 8.
"""
