"""What `meshagent.api` exports, and that importing it stays cheap (spec room-protocol 9.2)."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import meshagent.api


@pytest.mark.parametrize("name", meshagent.api.__all__)
def test_every_exported_name_exists(name: str) -> None:
    assert getattr(meshagent.api, name) is not None


def test_functions_are_not_hidden_by_submodules_of_the_same_name() -> None:
    import_module("meshagent.api.participant_token")
    import_module("meshagent.api.websocket_protocol")
    assert inspect.isfunction(meshagent.api.participant_token)
    assert inspect.isfunction(meshagent.api.websocket_protocol)


def test_submodules_are_attributes() -> None:
    from meshagent.api import runtime

    assert inspect.ismodule(runtime)
    assert inspect.ismodule(meshagent.api.messaging)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = meshagent.api.no_such_name


def test_importing_the_package_loads_no_library() -> None:
    program = "import sys, meshagent.api; print([m for m in ('aiohttp', 'pycrdt', 'pydantic') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["room_server_client", "chan", "protocol", "websocket_protocol", "participant"])
def test_public_modules_export_what_they_list(name: str) -> None:
    module = import_module(f"meshagent.api.{name}")
    assert all(hasattr(module, exported) for exported in module.__all__)
