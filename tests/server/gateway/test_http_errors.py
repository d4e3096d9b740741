"""The one shape of HTTP failures, and their statuses."""

from __future__ import annotations

import errno

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from meshagent.api import errors
from meshagent.server.gateway.http_errors import error_middleware, note_started, status_of
from meshagent.server.rooms.handle import RoomRunsError
from meshagent.server.stores.errors import CorruptDataError, StoreFailedError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRequestError("x"), 400),
        (errors.PermissionDeniedError("x"), 403),
        (errors.NotFoundError("x"), 404),
        (errors.AlreadyExistsError("x"), 409),
        (errors.ConflictError("x"), 409),
        (errors.LimitExceededError("x", limit=1), 429),
        (errors.UnavailableError("x"), 503),
        (errors.RequestTimeoutError("x"), 504),
        (errors.InternalError("x"), 500),
        (errors.RoomException("x"), 500),
        (RoomRunsError("x"), 409),
        (StoreFailedError("x"), 503),
        (CorruptDataError("x"), 500),
    ],
)
def test_each_kind_of_error_has_its_status(error: errors.RoomException, status: int) -> None:
    assert status_of(error) == status


def test_a_full_disk_is_507() -> None:
    error = StoreFailedError("the disk refused")
    error.__cause__ = OSError(errno.ENOSPC, "full")
    assert status_of(error) == 507


async def _fail_as_asked(request: web.Request) -> web.Response:
    match request.match_info["how"]:
        case "typed":
            raise errors.NotFoundError("there is nothing")
        case "http":
            raise web.HTTPUnprocessableEntity(text="no sense in it")
        case "redirect":
            raise web.HTTPFound("/elsewhere")
        case _:
            raise ZeroDivisionError("a secret of the server")


async def test_every_failure_has_one_shape(caplog: pytest.LogCaptureFixture) -> None:
    app = web.Application(middlewares=[error_middleware])
    app.add_routes([web.get("/{how}", _fail_as_asked)])
    async with TestClient(TestServer(app)) as client:
        answers = {}
        for method, path in [("GET", "/typed"), ("GET", "/http"), ("GET", "/no/route"), ("PUT", "/typed")]:
            async with client.request(method, path) as answer:
                answers[method, path] = (answer.status, (await answer.json())["error"])
                assert (answer.headers.get("Allow") is not None) == (answer.status == 405)
        async with client.get("/redirect", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, "/elsewhere")
        assert "secret" not in caplog.text
        async with client.get("/bug") as answer:
            assert answer.status == 500
            assert "secret" not in await answer.text()
    assert answers == {
        ("GET", "/typed"): (404, {"code": "not_found", "message": "there is nothing"}),
        ("GET", "/http"): (422, {"code": "unprocessable_entity", "message": "no sense in it"}),
        ("GET", "/no/route"): (404, {"code": "not_found", "message": "404: Not Found"}),
        ("PUT", "/typed"): (405, {"code": "method_not_allowed", "message": "405: Method Not Allowed"}),
    }
    assert "ZeroDivisionError: a secret of the server" in caplog.text


@pytest.mark.parametrize("error", [errors.UnavailableError("gone"), ZeroDivisionError("a secret of the server")])
async def test_what_fails_after_the_head_breaks_the_answer_off(error: Exception) -> None:
    async def fail_midway(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"beginning")
        raise error

    app = web.Application(middlewares=[error_middleware])
    app.on_response_prepare.append(note_started)
    app.add_routes([web.get("/", fail_midway)])
    async with TestClient(TestServer(app)) as client, client.get("/") as response:
        assert (response.status, await response.content.read(9)) == (200, b"beginning")
        with pytest.raises(aiohttp.ClientError):
            await response.read()
