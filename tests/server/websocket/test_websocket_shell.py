"""The WebSocket shell on real sockets: delivery, bounds, and every way a connection ends."""

from __future__ import annotations

import asyncio
import socket
import sys
from functools import partial

import pytest

from meshagent.server.websocket.shell import WebSocket, WebSocketLimits, server_frame
from tests.support.websocket_peer import ShellServer, client_frame, eventually, handshake, shell_server

BINARY, TEXT, CLOSE, PING, PONG = 2, 1, 8, 9, 10
MEBIBYTE = 1024 * 1024


async def stalled_peer(server: ShellServer) -> socket.socket:
    """A joined client that never reads, with as little kernel memory as it can have."""
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await loop.sock_connect(raw, ("127.0.0.1", server.port))
    await loop.sock_sendall(raw, handshake())
    assert (await loop.sock_recv(raw, 4096)).endswith(b"\r\n\r\n")
    return raw


def has_read(connection: WebSocket, total: int) -> bool:
    """Whether `connection` has read `total` bytes."""
    return connection.bytes_in >= total


async def test_messages_arrive_whole_and_in_order() -> None:
    sizes = [0, 1, 125, 126, 1036, 65535, 65536, 400_000, 3]
    async with shell_server() as server:
        peer, handler = await server.join()
        async with peer:
            for size in sizes:
                peer.send(client_frame(BINARY, bytes([size % 251]) * size))
            await handler.until(lambda: len(handler.messages) == len(sizes))
    assert handler.messages == [bytes([size % 251]) * size for size in sizes]
    assert handler.socket.remote == "127.0.0.1"
    assert handler.socket.bytes_in > sum(sizes)


async def test_writes_of_one_turn_leave_together_and_in_order() -> None:
    async with shell_server() as server:
        peer, handler = await server.join()
        async with peer:
            frames = [server_frame(bytes([n]) * n * 900) for n in range(40)]
            for frame in frames:
                handler.socket.write(frame)
            total = sum(map(len, frames))
            assert handler.socket.buffered == total
            assert handler.socket.congested
            for n in range(40):
                assert await peer.frame() == (BINARY, bytes([n]) * n * 900)
            await handler.until(lambda: handler.writable_calls == 1)
            assert (handler.socket.buffered, handler.socket.bytes_out) == (0, total)
            assert not handler.socket.congested


async def test_a_bulk_sender_paced_by_writable_finishes() -> None:
    chunk = server_frame(bytes(65000))
    left = 100

    async with shell_server(WebSocketLimits(max_buffered_bytes=400_000)) as server:
        peer, handler = await server.join()

        def send_more() -> None:
            nonlocal left
            while left and not handler.socket.congested:
                left -= 1
                handler.socket.write(chunk)

        handler.on_writable = send_more
        async with peer:
            send_more()
            for _ in range(100):
                assert await peer.frame() == (BINARY, bytes(65000))
    assert left == 0


@pytest.mark.parametrize("size", [10, 70_000, 1_000_000])
async def test_a_write_is_drained_when_the_system_has_taken_it(size: int) -> None:
    async with shell_server() as server:
        peer, handler = await server.join()
        async with peer, asyncio.timeout(5):
            assert await handler.socket.drained()  # nothing waits
            for _ in range(3):
                handler.socket.write(server_frame(bytes(size)))
                first, second = (asyncio.ensure_future(handler.socket.drained()) for _ in range(2))
                await asyncio.sleep(0)
                handler.socket.write(server_frame(b"later"))
                assert await peer.frame() == (BINARY, bytes(size))
                assert await first
                assert await second
                assert await peer.frame() == (BINARY, b"later")
            handler.socket.write(server_frame(bytes(60_000)))
            assert await handler.socket.drained()
            assert not handler.socket.congested


async def test_a_batch_of_many_writes_is_drained_when_the_peer_has_read_it() -> None:
    async with shell_server() as server, asyncio.timeout(5):
        raw = await stalled_peer(server)
        handler = await server.joined()
        for _ in range(400):
            handler.socket.write(server_frame(bytes(10_000)))
        drained = asyncio.ensure_future(handler.socket.drained())
        await eventually(lambda: handler.socket.taken > 0)
        assert not drained.done()
        assert handler.socket.congested
        left = 400 * len(server_frame(bytes(10_000)))
        while left:
            left -= len(await asyncio.get_running_loop().sock_recv(raw, 65536))
        assert await drained
        assert not handler.socket.congested
        raw.close()


async def test_draining_waits_for_the_peer_and_ends_with_the_connection() -> None:
    async with shell_server() as server, asyncio.timeout(5):
        raw = await stalled_peer(server)
        handler = await server.joined()
        while not handler.socket.congested:
            handler.socket.write(server_frame(bytes(100_000)))
            await asyncio.sleep(0)
        cancelled, waiting = (asyncio.ensure_future(handler.socket.drained()) for _ in range(2))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert not waiting.done()
        handler.socket.drop()
        assert not await handler.socket.drained()
        assert not await waiting
        raw.close()


@pytest.mark.parametrize("size", [100_000, 10_000])
async def test_a_stalled_peer_is_cut_while_others_keep_receiving(size: int) -> None:
    async with shell_server(WebSocketLimits(max_buffered_bytes=MEBIBYTE)) as server:
        raw = await stalled_peer(server)
        stalled = await server.joined()
        peer, healthy = await server.join()
        frame = server_frame(bytes(size))
        references = sys.getrefcount(frame)
        rounds = 0
        async with peer:
            while stalled.socket.is_open:
                stalled.socket.write(frame)
                healthy.socket.write(frame)
                rounds += 1
                assert stalled.socket.buffered <= MEBIBYTE + len(frame)
                assert await peer.frame() == (BINARY, bytes(size))
            code, reason = await stalled.until_lost()
        assert code == 1013
        assert "too slow" in reason
        assert sys.getrefcount(frame) <= references + 1  # nothing of the stalled peer's backlog is held
        assert stalled.socket.buffered == 0
        assert MEBIBYTE < rounds * size < 20 * MEBIBYTE
        raw.close()


async def test_a_single_batch_beyond_the_bound_is_cut_too() -> None:
    async with shell_server(WebSocketLimits(max_buffered_bytes=200_000)) as server:
        peer, handler = await server.join()
        async with peer:
            for _ in range(4):  # the third is taken, since less than the bound waits before it
                handler.socket.write(server_frame(bytes(80_000)))
            assert handler.losses == []  # never from within a call
            assert (await handler.until_lost())[0] == 1013
            assert await peer.rest() == b""


async def test_pings_are_answered_in_order() -> None:
    async with shell_server() as server:
        peer, _ = await server.join()
        async with peer:
            peer.send(b"".join(client_frame(PING, b"%d" % n) for n in range(50)))
            assert [await peer.frame() for _ in range(50)] == [(PONG, b"%d" % n) for n in range(50)]


async def test_a_ping_flood_from_a_peer_that_does_not_read_stays_bounded() -> None:
    async with shell_server(WebSocketLimits(max_buffered_bytes=4 * MEBIBYTE)) as server:
        raw = await stalled_peer(server)
        handler = await server.joined()
        flood = client_frame(PING, bytes(125)) * 5000
        highest = 0
        for _ in range(10):
            expected = handler.socket.bytes_in + len(flood)
            await asyncio.get_running_loop().sock_sendall(raw, flood)
            await eventually(partial(has_read, handler.socket, expected))
            highest = max(highest, handler.socket.buffered)
        assert handler.socket.is_open
        assert handler.losses == []
        assert highest < MEBIBYTE
        last = client_frame(PING, b"the last one")
        await asyncio.get_running_loop().sock_sendall(raw, last)
        received = b""
        async with asyncio.timeout(5):
            while not received.endswith(b"the last one"):
                received = received[-16:] + await asyncio.get_running_loop().sock_recv(raw, 65536)
        handler.socket.drop()
        await handler.until_lost()
        raw.close()


@pytest.mark.parametrize(("payload", "code"), [(b"", 1005), (b"\x03\xe8bye", 1000), (b"\x0f\xa0", 4000)])
async def test_the_peers_close_is_answered_reported_and_ends_the_connection(payload: bytes, code: int) -> None:
    async with shell_server() as server:
        peer, handler = await server.join()
        async with peer:
            handler.socket.write(server_frame(b"last words"))
            peer.send(client_frame(CLOSE, payload) + client_frame(PING, b"late"))
            assert await peer.frame() == (BINARY, b"last words")
            assert await peer.frame() == (CLOSE, payload[:2])
            assert await peer.rest() == b""
            assert await handler.until_lost() == (code, payload[2:].decode())


async def test_our_close_waits_for_the_peers_and_delivers_nothing_meanwhile() -> None:
    async with shell_server() as server:
        peer, handler = await server.join()
        async with peer:
            handler.socket.write(server_frame(b"before"))
            handler.socket.close(1008, "token expired")
            handler.socket.write(server_frame(b"after"))
            handler.socket.close(1000)
            assert await peer.frame() == (BINARY, b"before")
            assert await peer.frame() == (CLOSE, b"\x03\xf0token expired")
            assert handler.losses == []
            peer.send(client_frame(BINARY, b"crossed") + client_frame(CLOSE, b"\x03\xf0"))
            assert await peer.rest() == b""
            assert await handler.until_lost() == (1008, "token expired")
    assert handler.messages == []


async def test_a_peer_that_ignores_our_close_is_cut_in_time() -> None:
    async with shell_server(WebSocketLimits(close_timeout=0.02)) as server:
        peer, handler = await server.join()
        async with peer:
            handler.socket.close(4000, "go")
            assert await peer.close_code() == 4000
            assert await handler.until_lost() == (4000, "go")
            assert await peer.rest() == b""


async def test_drop_sends_no_close_frame() -> None:
    async with shell_server() as server:
        peer, handler = await server.join()
        async with peer:
            handler.socket.write(server_frame(b"discarded"))
            handler.socket.drop()
            handler.socket.drop()
            assert handler.losses == []
            assert await peer.rest() == b""
            assert await handler.until_lost() == (1006, "dropped by the server")


@pytest.mark.parametrize("half", [True, False])
async def test_a_connection_that_breaks_is_reported_as_1006(half: bool) -> None:
    async with shell_server() as server:
        peer, handler = await server.join()
        async with peer:
            if half:
                peer.writer.write_eof()
                assert await peer.rest() == b""
            else:
                peer.writer.transport.abort()
            assert await handler.until_lost() == (1006, "connection lost")


async def test_a_violation_sends_its_code_and_drains_what_was_under_way() -> None:
    async with shell_server(WebSocketLimits(max_message_bytes=1000)) as server:
        peer, handler = await server.join()
        async with peer:
            peer.send(client_frame(BINARY, b"good") + client_frame(BINARY, bytes(MEBIBYTE)))
            assert await peer.close_code() == 1009
            assert await handler.until_lost() == (1009, "message is larger than 1000 bytes")
            peer.send(client_frame(CLOSE, b"\x03\xf1"))
            peer.writer.write_eof()
            assert await peer.rest() == b""
    assert handler.messages == [b"good"]


async def test_text_is_the_handlers_choice() -> None:
    async with shell_server() as server:
        peer, handler = await server.join()
        async with peer:
            handler.takes_text = True
            peer.send(client_frame(TEXT, "grüß".encode()))
            await handler.until(lambda: handler.texts == ["grüß"])
            handler.takes_text = False
            peer.send(client_frame(TEXT, b"no") + client_frame(TEXT, b"more"))
            assert await peer.close_code() == 1003
            assert (await handler.until_lost())[0] == 1003
    assert handler.texts == ["grüß", "no"]


async def test_a_handler_that_fails_closes_its_connection_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    async with shell_server() as server:
        peer, handler = await server.join()

        def fail(message: bytes) -> None:
            raise RuntimeError("a bug")

        async with peer:
            handler.on_message = fail
            peer.send(client_frame(BINARY, b"x") * 3)
            assert await peer.close_code() == 1011
            assert (await handler.until_lost())[0] == 1011
    assert [record.exc_text is not None for record in caplog.records] == [True]


async def test_reading_pauses_and_resumes() -> None:
    async with shell_server(WebSocketLimits(ping_interval=0.01, ping_timeout=0.02)) as server:
        peer, handler = await server.join()
        async with peer:
            handler.socket.pause_reading()
            peer.send(client_frame(BINARY, b"held"))
            await asyncio.sleep(0.05)  # several ping timeouts: silence of our own making is no reason to cut
            assert handler.messages == []
            assert handler.socket.is_open
            handler.socket.resume_reading()
            await handler.until(lambda: handler.messages == [b"held"])


async def test_a_silent_peer_is_pinged_then_cut() -> None:
    async with shell_server(WebSocketLimits(ping_interval=0.01, ping_timeout=0.03)) as server:
        peer, handler = await server.join()
        async with peer:
            for _ in range(3):
                assert await peer.frame() == (PING, b"")
                peer.send(client_frame(PONG))
            assert handler.losses == []
            code, reason = await handler.until_lost()
            assert (code, "ping" in reason) == (1006, True)


async def test_closing_the_shell_ends_every_connection_and_refuses_new_ones() -> None:
    async with shell_server() as server:
        pairs = [await server.join() for _ in range(3)]
        assert len(server.shell.sockets) == 3
        closing = asyncio.ensure_future(server.shell.close(1001, "restart"))
        for peer, _ in pairs:
            assert await peer.frame() == (CLOSE, b"\x03\xe9restart")
            assert not closing.done()
            peer.send(client_frame(CLOSE, b"\x03\xe9"))
        await asyncio.wait_for(closing, 5)
        assert [handler.losses for _, handler in pairs] == [[(1001, "restart")]] * 3
        assert len(server.shell.sockets) == 0
        for peer, _ in pairs:
            await peer.__aexit__(None, None, None)


async def test_what_a_peer_did_not_acknowledge_is_known_when_it_is_cut() -> None:
    async with shell_server(WebSocketLimits(max_buffered_bytes=64 * MEBIBYTE)) as server:
        raw = await stalled_peer(server)
        stalled = await server.joined()
        stalled.socket.write(server_frame(bytes(1000)))
        first = stalled.socket.sent_bytes
        await stalled.socket.drained()
        while not stalled.socket.congested:
            stalled.socket.write(server_frame(bytes(100_000)))
            await asyncio.sleep(0)
        stalled.socket.drop()
        acknowledged = stalled.socket.acknowledged
        if sys.platform == "linux":
            assert acknowledged is not None
            assert first <= acknowledged < stalled.socket.sent_bytes
        raw.close()
