"""The protocol reference has a row for every operation, message, tool, error and close code, and for nothing else."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshagent.api import contracts, errors
from meshagent.api.contracts.dataset import DatasetRef
from meshagent.api.contracts.operation import Operation
from meshagent.api.errors import PermissionDeniedError
from meshagent.api.room.reconnect import RECONNECT_CLOSE_CODES
from meshagent.api.tokens.scope import ApiScope
from meshagent.api.wire.close_codes import CloseCode
from meshagent.server.dispatch.invoke import messages
from meshagent.server.dispatch.invoke.dialect import UNSUPPORTED_TOOLKITS
from meshagent.server.rooms.room import Room
from tests.server.test_every_grant import WITHOUT_GRANT, smallest_request
from tests.support.assembly import Asker, assembled_server
from tests.support.docs import DOCS, ids_of, section, table_rows, text_of

REFERENCE = DOCS / "reference" / "protocol"
CHAPTERS = {int(page.name[:2]): page.read_text(encoding="utf-8") for page in sorted(REFERENCE.glob("[0-9]*.md"))}
OPERATION_CHAPTERS = (5, 6, 7, 9, 10, 11, 12, 13)
DATASET_REF = {f"`{field.encode_name}`" for field in msgspec.structs.fields(DatasetRef)}
NO_GRANT = "\N{EN DASH}"


def heading(number: str) -> str:
    """The heading of a section, as its page has it."""
    page = CHAPTERS[int(number.partition(".")[0])]
    found = re.search(rf'^#+ {re.escape(number)} .*<a id="{re.escape(number)}"></a>$', page, re.MULTILINE)
    assert found, number
    return found[0]


def part(number: str) -> str:
    """The text of a section."""
    return section(CHAPTERS[int(number.partition(".")[0])], heading(number))


def operation_rows() -> dict[str, list[str]]:
    """Rows of the tables of operations: name, request, result, grant; by name."""
    rows: dict[str, list[str]] = {}
    for chapter in OPERATION_CHAPTERS:
        for block in CHAPTERS[chapter].split("\n\n"):
            head, *body = table_rows(block) or [[""]]
            for row in body if head[0] == "Operation" else ():
                assert row[0].strip("`") not in rows, row[0]
                rows[row[0].strip("`")] = row
    return rows


def declared_operations() -> dict[str, Operation[Any, Any]]:
    """Everything in `meshagent.api.contracts` that is an operation, by name."""
    modules = [importlib.import_module(f"{contracts.__name__}.{found.name}") for found in walk_contracts()]
    values = [value for module in modules for value in vars(module).values()]
    return {value.name: value for value in values if isinstance(value, Operation)}


def walk_contracts() -> Iterator[pkgutil.ModuleInfo]:
    return pkgutil.iter_modules(contracts.__path__)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with assembled_server(tmp_path) as server:
        yield server.room


# --- sections ----------------------------------------------------------------------------------------


def test_chapters_and_sections_are_numbered_without_gaps() -> None:
    assert list(CHAPTERS) == list(range(1, len(CHAPTERS) + 1))
    for number, page in CHAPTERS.items():
        assert re.match(rf"# {number} ", page), number
        numbers = re.findall(r"^## (\S+) ", page, re.MULTILINE)
        assert numbers == [f"{number}.{count}" for count in range(1, len(numbers) + 1)]


def test_every_section_has_its_number_as_its_id() -> None:
    for number, page in CHAPTERS.items():
        headings = re.findall(r"^## (\S+) .*$", page, re.MULTILINE)
        assert [anchor for anchor in ids_of(page) if anchor[0].isdigit()] == headings, number


# --- operations --------------------------------------------------------------------------------------


async def test_every_operation_has_its_row(room: Room) -> None:
    assert set(operation_rows()) == set(declared_operations()) == set(room.dispatcher.operations.by_name)


def test_rows_name_the_members_of_requests() -> None:
    rows = operation_rows()
    for name, operation in declared_operations().items():
        request = rows[name][1]
        members = {f"`{field.encode_name}`": field.required for field in msgspec.structs.fields(operation.request)}
        if name.startswith("dataset."):  # said once, above the table
            members = {member: required for member, required in members.items() if member not in DATASET_REF}
        assert set(re.findall(r"`\w+`", request)) == set(members), name
        for member, required in members.items():
            assert required != (f"{member}?" in request or f"(also {member})" in request), (name, member)


def test_results_have_the_members_that_rows_name() -> None:
    rows = operation_rows()
    for name, operation in declared_operations().items():
        if issubclass(operation.result, msgspec.Struct):
            for field in msgspec.structs.fields(operation.result):
                assert f"`{field.encode_name}`" in rows[name][2], (name, field.encode_name)


# --- grants ------------------------------------------------------------------------------------------


def grant_rows() -> dict[str, str]:
    return {row[0].strip("`"): row[1] for row in table_rows(part("4.5")) if row[0].startswith("`")}


def test_chapters_and_the_table_of_grants_name_the_same_grants() -> None:
    names = re.compile(r"`(\w+(?:\.\w+|: \w+)?)`")
    for operation, row in operation_rows().items():
        if operation in grant_rows():
            assert set(names.findall(row[3])) <= set(names.findall(grant_rows()[operation])) | {"if"}, operation
            assert row[3] != NO_GRANT
        else:
            assert row[3].startswith(NO_GRANT), operation


def test_operations_without_a_grant_are_listed() -> None:
    told = part("4.5").partition("**Without a grant**")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+\.\w+)`", told)) == WITHOUT_GRANT
    assert set(grant_rows()) == set(declared_operations()) - WITHOUT_GRANT


async def test_the_named_grants_are_what_opens_operations(room: Room) -> None:
    """A scope with the grants of the row is let in; without any one of them it is refused."""
    for operation in grant_rows():
        served = room.dispatcher.operations.find(operation)
        assert served is not None
        assert served.grant is not None
        request = msgspec.json.decode(
            msgspec.json.encode(smallest_request(served.operation)), type=served.operation.request
        )
        grants = grants_of(operation)
        served.grant(scope_with(grants), request)
        for missing in grants:
            try:
                served.grant(scope_with(grants - {missing}), request)
            except PermissionDeniedError:
                continue
            raise AssertionError(f"{operation} does not need {missing}")


def grants_of(operation: str) -> frozenset[str]:
    """The grants that the smallest request of an operation needs, by its row."""
    if operation == "agent.register_toolkit":  # the smallest one is not public
        return frozenset({"agents.register_private_toolkit"})
    text = grant_rows()[operation].partition(";")[0]  # what stands behind depends on the request
    return frozenset(re.findall(r"`(\w+(?:\.\w+|: \w+)?)`", text))


def scope_with(grants: frozenset[str]) -> ApiScope:
    """A scope that allows exactly these grants, for the names in `smallest_request`."""
    scope: dict[str, dict[str, Any]] = {}
    for grant in sorted(grants):
        section_name, _, member = grant.replace(": ", ".").partition(".")
        scope.setdefault(section_name, dict(NOTHING[section_name]))
        if ": " not in grant:
            if member:
                scope[section_name][member] = ["a.txt"] if member in ("send", "receive") else True
                if section_name == "messaging" or member in ("list", "list_tables"):
                    scope[section_name][member] = True
        elif section_name == "storage":
            scope["storage"]["files"] = [*scope["storage"]["files"], {"path": "a.txt", "actions": [member]}]
        elif section_name == "sync":
            scope["sync"]["paths"] = [{"path": "a.txt", "read_only": member == "read"}]
        else:
            table = {"name": "a.txt", "read": False, "write": False, "alter": False, member: True}
            scope["dataset"]["tables"] = [table]
    storage = scope.get("storage")
    if storage is not None:  # one rule for each path decides
        actions = [action for rule in storage["files"] for action in rule["actions"]]
        storage["files"] = [{"path": "a.txt", "actions": actions}] if actions else []
    return ApiScope.from_json(scope)


NOTHING: dict[str, dict[str, Any]] = {
    "messaging": {"send": False, "broadcast": False, "list": False},
    "storage": {"files": []},
    "sync": {"paths": []},
    "queues": {"send": [], "receive": [], "list": False},
    "dataset": {"tables": [], "list_tables": False},
    "agents": dict.fromkeys(
        (
            "register_agent",
            "register_public_toolkit",
            "register_private_toolkit",
            "call",
            "use_agents",
            "use_tools",
        ),
        False,
    ),
    "livekit": {"breakout_rooms": []},
    "developer": {"logs": False},
    "services": {},
}
"""Each section with everything in it forbidden that can be."""


# --- the invoke dialect ------------------------------------------------------------------------------


def test_every_message_of_the_invoke_dialect_has_its_row() -> None:
    documented = {row[0].strip("`") for row in table_rows(part("14.1")) if row[0].startswith("`room.")}
    prefixes = {messages.TOOL_CALL_PREFIX, messages.INPUT_CHUNK_PREFIX}
    names = {value for value in vars(messages).values() if isinstance(value, str) and value.startswith("room.")}
    assert documented == names - prefixes
    assert all(f"`{prefix}TOOLKIT`" in part("14.4") for prefix in prefixes)


async def test_every_tool_of_the_rooms_own_toolkits_has_its_row(room: Room) -> None:
    rows = [row for row in table_rows(part("14.5")) if row[0].startswith("`")]
    assert {(row[0].strip("`"), row[1].strip("`")) for row in rows} == set(served_tools(room))


async def test_tools_that_are_operations_lead_to_theirs(room: Room) -> None:
    rows = [row for row in table_rows(part("14.5")) if row[0].startswith("`")]
    for _, tool, leads_to in rows:
        operation = re.match(r"`(\w+\.\w+)`", leads_to)
        if operation:
            assert operation[1] in room.dispatcher.operations.by_name, tool


def test_toolkits_that_are_not_there_are_named() -> None:
    told = part("14.11").partition("are answered")[0]
    assert set(re.findall(r"`(\w+)`", told)) == UNSUPPORTED_TOOLKITS


def served_tools(room: Room) -> Iterator[tuple[str, str]]:
    """Toolkit and tool, for each tool that the server itself serves in the invoke dialect."""
    listed = Asker().ask(room, messages.LIST_TOOLKITS, {})
    for toolkit, described in listed.tools.items():
        for tool in described["tools"]:
            yield toolkit, tool


# --- errors and close codes --------------------------------------------------------------------------


def test_every_error_has_its_row() -> None:
    classes = [getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)]
    expected = {
        (f"`{kind.__name__}`", f"`{kind.code}`", str(kind.wire_code), "yes" if kind.retryable else "no")
        for kind in classes
    }
    assert {tuple(row[:4]) for row in table_rows(part("16.1")) if row[0].startswith("`")} == expected


def test_numbers_of_areas_are_those_that_the_sdk_understands() -> None:
    told = {int(number) for number in re.findall(r"\b[2-7]\d{3}\b", part("16.2"))}
    understood = {code for code in range(2000, 8000) if errors.error_for_wire_code("", code).code != "failed"}
    assert told == understood | {7002}


def test_every_close_code_has_its_row() -> None:
    rows = [row for row in table_rows(part("16.3")) if row[0].isdigit()]
    assert {(row[0], row[1].strip("`")) for row in rows} == {(str(int(code)), code.name) for code in CloseCode}
    assert {int(row[0]) for row in rows if row[3] == "comes back"} == RECONNECT_CLOSE_CODES & set(map(int, CloseCode))


# --- where to look -----------------------------------------------------------------------------------


def test_the_index_lists_every_chapter_and_answers_first_questions() -> None:
    index = text_of("reference/protocol/README.md")
    for page in REFERENCE.glob("[0-9]*.md"):
        assert f"({page.name})" in index, page.name
    for number in ("1.9", "3.2", "4.5", "7.5", "9.4"):
        assert re.search(rf"\(\S+#{re.escape(number)}\)", section(index, "## Where to look")), number


def test_ids_are_given_once() -> None:
    counted = Counter(anchor for page in DOCS.rglob("*.md") for anchor in ids_of(page.read_text(encoding="utf-8")))
    assert [anchor for anchor, count in counted.items() if count > 1] == []
