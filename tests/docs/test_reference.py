"""The reference has an entry for all that is served, and for nothing else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from meshagent.api import errors
from meshagent.api.contracts.dataset import DatasetRef
from meshagent.api.room.reconnect import RECONNECT_CLOSE_CODES
from meshagent.api.wire.close_codes import CloseCode
from meshagent.server.config import ServerConfig
from meshagent.server.dispatch.invoke import messages
from meshagent.server.dispatch.invoke.dialect import NOT_BUILT
from meshagent.server.gateway.http_errors import status_of
from meshagent.server.room_factory import RoomWithServices
from tests.support.assembly import Asker, AssembledServer, assembled_server
from tests.support.docs import section, table_rows, text_of

PROTOCOL = text_of("reference/protocol.md")
NO_GRANT = "\N{EN DASH}"
PLACE = {f"`{field.encode_name}`" for field in msgspec.structs.fields(DatasetRef)}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[AssembledServer]:
    async with assembled_server(tmp_path) as assembled:
        yield assembled


def flat_rows() -> dict[str, list[str]]:
    """Rows of the flat dialect by the operation's name."""
    rows = table_rows(section(PROTOCOL, "## Flat dialect").partition("### One-way messages")[0])
    return {row[0].strip("`"): row for row in rows if row[0].startswith("`")}


async def test_every_operation_has_its_row(server: AssembledServer) -> None:
    room = server.room
    assert set(flat_rows()) == set(room.dispatcher.operations.by_name)


async def test_rows_name_the_members_of_requests(server: AssembledServer) -> None:
    room = server.room
    for name, (_, request, _, grant) in flat_rows().items():
        served = room.dispatcher.operations.find(name)
        assert served is not None
        members = {
            f"`{field.encode_name}`": field.required for field in msgspec.structs.fields(served.operation.request)
        }
        if name.startswith("dataset."):  # said once, above the table
            members = {member: required for member, required in members.items() if member not in PLACE}
        documented = set(re.findall(r"`\w+`", request))
        assert documented == set(members), name
        for member, required in members.items():
            assert required != (f"{member}?" in request or f"(also {member})" in request), (name, member)
        assert (grant == NO_GRANT) == (served.grant is None), name


async def test_results_have_the_members_that_rows_name(server: AssembledServer) -> None:
    room = server.room
    for name, (_, _, result, _) in flat_rows().items():
        served = room.dispatcher.operations.find(name)
        assert served is not None
        if issubclass(served.operation.result, msgspec.Struct):
            for field in msgspec.structs.fields(served.operation.result):
                assert f"`{field.encode_name}`" in result, (name, field.encode_name)


async def test_every_message_of_the_invoke_dialect_has_its_row(server: AssembledServer) -> None:
    rows = table_rows(section(PROTOCOL, "## Invoke dialect").partition("### ")[0])
    documented = {row[0].strip("`") for row in rows if row[0].startswith("`")}
    prefixes = {messages.TOOL_CALL_PREFIX, messages.INPUT_CHUNK_PREFIX}
    names = {value for value in vars(messages).values() if isinstance(value, str) and value.startswith("room.")}
    assert documented == names - prefixes
    assert all(f"`{prefix}TOOLKIT`" in PROTOCOL for prefix in prefixes)


async def test_every_tool_of_the_rooms_own_toolkits_has_its_row(server: AssembledServer) -> None:
    room = server.room
    rows = table_rows(section(PROTOCOL, "### The room's own toolkits"))
    documented = {(row[0].strip("`"), row[1].strip("`")) for row in rows if row[0].startswith("`")}
    assert documented == set(served_tools(room))


def test_toolkits_that_are_not_there_are_named() -> None:
    told = section(PROTOCOL, "### The room's own toolkits").partition("Toolkits that this server does not have")[2]
    assert {name for name in NOT_BUILT if f"`{name}`" in told.partition("are answered")[0]} == NOT_BUILT


def served_tools(room: RoomWithServices) -> Iterator[tuple[str, str]]:
    """Toolkit and tool, for each tool that the server itself serves in the invoke dialect."""
    listed = Asker().ask(room, messages.LIST_TOOLKITS, {})
    for toolkit, described in listed.tools.items():
        for tool in described["tools"]:
            yield toolkit, tool


def error_classes() -> dict[str, type[errors.RoomException]]:
    named = {name: getattr(errors, name) for name in errors.__all__}
    return {name: value for name, value in named.items() if isinstance(value, type)}


def test_every_error_has_its_row() -> None:
    rows = [row for row in table_rows(section(PROTOCOL, "## Errors")) if row[0].startswith("`")]
    expected = {
        (f"`{name}`", f"`{kind.code}`", str(kind.wire_code), "yes" if kind.retryable else "no")
        for name, kind in error_classes().items()
    }
    assert {tuple(row[:4]) for row in rows} == expected


def test_every_close_code_has_its_row() -> None:
    rows = [row for row in table_rows(section(PROTOCOL, "## Close codes")) if row[0].isdigit()]
    assert {(row[0], row[1].strip("`")) for row in rows} == {(str(int(code)), code.name) for code in CloseCode}
    assert {int(row[0]) for row in rows if row[3] == "comes back"} == RECONNECT_CLOSE_CODES & set(map(int, CloseCode))


def subclasses(kind: type[errors.RoomException]) -> Iterator[type[errors.RoomException]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith(("meshagent.server", "meshagent.api")):
            yield child
            yield from subclasses(child)


def test_every_code_that_http_routes_can_answer_is_listed_with_its_status() -> None:
    rows = {row[0]: " ".join(row) for row in table_rows(section(text_of("reference/http.md"), "## Failures"))}
    for kind in subclasses(errors.RoomException):
        if kind.__module__.startswith("meshagent.api.transport") or kind.code in ("webhook_refused", "http_status"):
            continue  # never answered: they say what another server answered
        error = kind("text", limit=1) if issubclass(kind, errors.LimitExceededError) else kind.__new__(kind)
        assert f"`{kind.code}`" in rows[str(status_of(error))], kind


async def test_every_http_route_is_in_the_reference(server: AssembledServer) -> None:
    of_accounts = set(re.findall(r"^\| `(\w+) (\S+)` ", text_of("reference/rest-api.md"), re.MULTILINE))
    served = set()
    for route in server.application.router.routes():
        assert route.resource is not None
        path = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.resource.canonical)
        if route.method != "HEAD" and (route.method, path) not in of_accounts:
            served.add((route.method, path))
    rows = table_rows(text_of("reference/http.md").partition("## Failures")[0])
    documented = {tuple(row[0].strip("`").split(" ")) for row in rows if row[0].startswith("`")}
    assert documented == served


def test_every_limit_is_on_its_page() -> None:
    page = text_of("reference/limits.md")
    for name in ServerConfig.model_fields["limits"].annotation.model_fields:  # type: ignore[union-attr]
        assert f"`limits.{name}`" in page, name
