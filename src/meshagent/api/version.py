"""The version of this distribution, sent as `v` when a client connects."""

__version__ = "0.1.0"
