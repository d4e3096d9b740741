"""What a room can do: one service for each group of operations.

`XService` is in `x.py`, or in `x/service.py` where it has modules of its own. Services take and return typed values of
`meshagent.api.contracts`; the dialects in `dispatch` and the encoder in `websocket` turn these into bytes.
"""
