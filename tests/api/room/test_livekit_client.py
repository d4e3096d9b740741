"""`room.livekit` on a fake core."""

from __future__ import annotations

from meshagent.api.room.livekit import LivekitClient
from tests.support.fake_core import FakeCore


async def test_the_room_says_where_to_join() -> None:
    core = FakeCore()
    core.answers["livekit.connect"] = lambda header, payload: {"url": "wss://l", "token": "t"}
    info = await LivekitClient(room=core).get_connection_info(breakout_room="b")
    assert (info.url, info.token) == ("wss://l", "t")
    assert core.received("livekit.connect") == [({"breakout_room": "b"}, b"")]
