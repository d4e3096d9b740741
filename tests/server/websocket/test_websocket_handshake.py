"""The opening handshake and the takeover of aiohttp's connection."""

from __future__ import annotations

import asyncio
import datetime
import logging
import ssl
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.websocket_peer import Peer, client_frame, eventually, handshake, shell_server

BINARY, CLOSE = 2, 8


@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, Upgrade", "upgrade,keep-alive", "Keep-Alive , UPGRADE"])
async def test_valid_handshakes_are_accepted_and_no_extension_is_selected(connection: str) -> None:
    async with shell_server() as server, await Peer.connect(server.port) as peer:
        offer = "permessage-deflate; client_max_window_bits"
        peer.send(handshake(connection=connection, upgrade="WebSocket", sec_websocket_extensions=offer))
        assert await peer.head() == (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Accept: Bz3qJYTGdOe8gUSpLosEdiLKDrk=\r\n\r\n"
        )


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        pytest.param(handshake(without="upgrade"), 400, id="no upgrade"),
        pytest.param(handshake(upgrade="h2c"), 400, id="upgrade to something else"),
        pytest.param(handshake(connection="keep-alive"), 400, id="connection keeps alive only"),
        pytest.param(handshake(without="connection"), 400, id="no connection header"),
        pytest.param(handshake(without="sec-websocket-key"), 400, id="no key"),
        pytest.param(handshake(sec_websocket_key="YWJj"), 400, id="key of 3 bytes"),
        pytest.param(handshake(sec_websocket_key="!" * 24), 400, id="key not base64"),
        pytest.param(handshake(sec_websocket_version="12"), 426, id="version 12"),
        pytest.param(handshake(without="sec-websocket-version"), 426, id="no version"),
        pytest.param(handshake(content_length="2") + b"hi", 400, id="a body"),
        pytest.param(handshake().replace(b"GET ", b"POST "), 405, id="POST"),
        pytest.param(handshake().replace(b"HTTP/1.1", b"HTTP/1.0"), 400, id="HTTP/1.0"),
    ],
)
async def test_invalid_handshakes_are_refused_as_plain_http(request_head: bytes, status: int) -> None:
    async with shell_server() as server, await Peer.connect(server.port) as peer:
        peer.send(request_head)
        head = await peer.head()
        assert head.startswith((f"HTTP/1.1 {status} ", f"HTTP/1.0 {status} "))
        assert ("Sec-WebSocket-Version: 13" in head) == (status == 426)
        assert len(server.shell.sockets) == 0


async def test_bytes_right_behind_the_handshake_are_not_lost() -> None:
    async with shell_server() as server, await Peer.connect(server.port) as peer:
        messages = [b"early", bytes(200_000)]
        frames = b"".join(client_frame(BINARY, message) for message in messages)
        peer.send(handshake() + frames + frames[:3])
        handler = await server.joined()
        assert (await peer.head()).startswith("HTTP/1.1 101 ")
        peer.send(frames[3:])
        await handler.until(lambda: len(handler.messages) == 4)
        assert handler.messages == messages * 2


async def test_a_kept_alive_connection_can_still_be_upgraded() -> None:
    async with shell_server() as server, await Peer.connect(server.port) as peer:
        plain = b"GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n"
        peer.send(plain)
        assert (await peer.head()).startswith("HTTP/1.1 200 ")
        assert await peer.reader.readexactly(5) == b"plain"
        # Pipelined: aiohttp holds the handshake and the frame while it answers the request before.
        peer.send(plain + handshake() + client_frame(BINARY, b"pipelined"))
        assert (await peer.head()).startswith("HTTP/1.1 200 ")
        assert await peer.reader.readexactly(5) == b"plain"
        assert (await peer.head()).startswith("HTTP/1.1 101 ")
        handler = await server.joined()
        await handler.until(lambda: handler.messages == [b"pipelined"])


async def test_a_refused_handshake_leaves_the_connection_to_http() -> None:
    async with shell_server() as server, await Peer.connect(server.port) as peer:
        peer.send(handshake(sec_websocket_version="12") + b"GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await peer.head()).startswith("HTTP/1.1 426 ")
        await peer.body_until(b"13 is spoken here")
        assert (await peer.head()).startswith("HTTP/1.1 200 ")


async def test_aiohttp_lets_go_of_an_upgraded_connection() -> None:
    async with shell_server() as server:
        tasks_before = len(asyncio.all_tasks())
        async with await Peer.join(server.port):
            await server.joined()
            assert server.runner.server is not None
            http = server.runner.server
            await eventually(lambda: not http.connections)
            assert len(asyncio.all_tasks()) == tasks_before


async def test_the_access_log_shows_the_upgrade(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp.access")
    async with shell_server() as server, await Peer.join(server.port):
        await server.joined()
        await eventually(lambda: bool(caplog.messages))
    assert '"GET /ws HTTP/1.1" 101' in caplog.messages[0]


async def test_shutdown_closes_with_1001_and_does_not_wait_for_aiohttp() -> None:
    async with shell_server() as server:
        peer, handler = await server.join()
        async with peer:
            cleanup = asyncio.ensure_future(server.runner.cleanup())
            assert await peer.close_code() == 1001
            peer.send(client_frame(CLOSE, b"\x03\xe9"))
            await asyncio.wait_for(cleanup, 5)
            assert handler.losses == [(1001, "server shutdown")]


async def test_a_closed_shell_refuses_with_503() -> None:
    async with shell_server() as server, await Peer.connect(server.port) as peer:
        await server.shell.close()
        peer.send(handshake())
        assert (await peer.head()).startswith("HTTP/1.1 503 ")


async def test_aiohttps_own_client_understands_us() -> None:
    async with shell_server() as server, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://127.0.0.1:{server.port}/ws", heartbeat=1) as client:
            handler = await server.joined()
            await client.send_bytes(bytes(100_000))
            await handler.until(lambda: handler.messages == [bytes(100_000)])
        assert await handler.until_lost() == (1000, "")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server named localhost and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = Path(tmp_path_factory.mktemp("tls"), "server.pem")
    encoding = serialization.Encoding.PEM
    pem.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(encoding)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.create_default_context(cadata=certificate.public_bytes(encoding).decode())
    client.check_hostname = False
    return server, client


async def test_tls_connections_are_taken_over_too(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with shell_server(tls=tls[0]) as server, await Peer.connect(server.port, tls[1]) as peer:
        messages = [b"early", bytes(300_000), b"end"]
        peer.send(handshake() + b"".join(client_frame(BINARY, message) for message in messages))
        assert (await peer.head()).startswith("HTTP/1.1 101 ")
        handler = await server.joined()
        await handler.until(lambda: len(handler.messages) == 3)
        assert handler.messages == messages
        peer.send(b"\x82\x00")  # unmasked
        assert await peer.close_code() == 1002
        assert (await handler.until_lost())[0] == 1002
