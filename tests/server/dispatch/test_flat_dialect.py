"""The flat dialect is the table of operations: each operation of the contracts is a message, and nothing else is."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import msgspec

import meshagent.api.contracts
from meshagent.api.contracts.operation import Operation
from tests.support.assembly import assembled_server


def declared_operations() -> dict[str, Operation[Any, Any]]:
    """Every operation in `meshagent.api.contracts`, by name."""
    modules = [
        importlib.import_module(info.name)
        for info in pkgutil.iter_modules(meshagent.api.contracts.__path__, "meshagent.api.contracts.")
    ]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Operation)]
    return {operation.name: operation for operation in found}


def shape(operation: Operation[Any, Any]) -> tuple[object, ...]:
    """What an operation is on the wire: rows of tables are served unparsed, in types of the server's own."""
    request = {field.encode_name: field.required for field in msgspec.structs.fields(operation.request)}
    is_struct = issubclass(operation.result, msgspec.Struct)
    result = (
        {field.encode_name for field in msgspec.structs.fields(operation.result)} if is_struct else operation.result
    )
    return operation.name, operation.kind, request, result


async def test_a_room_serves_every_operation_of_the_contracts(tmp_path: Path) -> None:
    async with assembled_server(tmp_path) as server:
        served = server.room.dispatcher.operations.by_name
    declared = declared_operations()
    assert set(served) == set(declared)
    for name, operation in declared.items():
        assert shape(served[name].operation) == shape(operation)


def test_names_are_areas_and_operations() -> None:
    for name, operation in declared_operations().items():
        area, _, rest = name.partition(".")
        assert (operation.area, "." in rest, bool(rest)) == (area, False, True)
