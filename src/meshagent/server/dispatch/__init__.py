"""The two dialects: how messages become operations and tool calls, and results become messages."""
