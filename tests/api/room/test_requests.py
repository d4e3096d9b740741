"""Requests and their answers on one connection."""

from __future__ import annotations

import asyncio

import pytest

from meshagent.api.contracts import queues, storage
from meshagent.api.contracts.content import Body, EmptyBody, ErrorBody, JsonBody, TextBody
from meshagent.api.errors import ConnectionLostError, NotFoundError, RoomException
from meshagent.api.room.requests import Requests, log_failure, read_body, read_result
from meshagent.api.transport.chan import ChanClosed
from meshagent.api.transport.protocol import Protocol


class SentProtocol(Protocol):
    """Keeps what was sent, or refuses everything."""

    def __init__(self, *, closed: bool = False) -> None:
        super().__init__()
        self.sent: list[int] = []
        self.refuses = closed

    async def send(self, type: str, data: bytes | str, message_id: int | None = None) -> int:
        return self.send_nowait(type, data, message_id)

    def send_nowait(self, type: str, data: bytes | str, message_id: int | None = None) -> int:
        if self.refuses:
            raise ChanClosed
        assert message_id is not None
        self.sent.append(message_id)
        return message_id


async def test_answers_find_their_requests_in_any_order() -> None:
    protocol = SentProtocol()
    requests = Requests(protocol)
    waiting = [asyncio.create_task(requests.send("t", b"")) for _ in range(2)]
    await asyncio.sleep(0)
    for message_id in reversed(protocol.sent):
        requests.on_response(protocol, message_id, "__response__", str(message_id).encode())
    requests.on_response(protocol, 99, "__response__", b"nobody waits for this")
    assert await asyncio.gather(*waiting) == [b"1", b"2"]


async def test_requests_fail_with_the_connection() -> None:
    requests = Requests(SentProtocol())
    waiting = asyncio.create_task(requests.send("t", b""))
    unattended = requests.send_nowait("t", b"")
    await asyncio.sleep(0)
    requests.fail_all(ConnectionLostError("gone"))
    for failed in (waiting, unattended):
        with pytest.raises(ConnectionLostError, match="gone"):
            await failed


async def test_what_cannot_be_sent_is_not_waited_for() -> None:
    requests = Requests(SentProtocol(closed=True))
    with pytest.raises(ChanClosed):
        await requests.send("t", b"")
    with pytest.raises(ChanClosed):
        requests.send_nowait("t", b"")
    requests.fail_all(ConnectionLostError("gone"))  # finds nothing to fail


def test_results_are_read_by_their_operation() -> None:
    assert read_result(storage.EXISTS, JsonBody(json={"exists": True}).pack()).exists
    read_result(storage.DELETE, EmptyBody().pack())
    content = read_result(queues.RECEIVE, TextBody(text="x").pack())
    assert isinstance(content, TextBody)
    with pytest.raises(NotFoundError, match="no such queue"):
        read_result(queues.RECEIVE, ErrorBody(text="no such queue", code=NotFoundError.wire_code).pack())


@pytest.mark.parametrize("content", [TextBody(text="yes"), EmptyBody()])
def test_an_unexpected_content_is_an_error(content: Body) -> None:
    with pytest.raises(RoomException, match=rf"storage\.exists: a '{content.type}' content"):
        read_result(storage.EXISTS, content.pack())
    with pytest.raises(RoomException, match=rf"storage\.download: a '{content.type}' content"):
        read_result(storage.DOWNLOAD, content.pack())


async def test_a_failure_that_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    for data in (ErrorBody(text="too late", code=None).pack(), EmptyBody().pack()):
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answer.set_result(data)
        log_failure("it was not sent", answer)
    cancelled: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    cancelled.cancel()
    log_failure("it was not sent", cancelled)
    assert [record.message for record in caplog.records] == ["it was not sent: too late"]
    assert isinstance(read_body(EmptyBody().pack()), EmptyBody)
