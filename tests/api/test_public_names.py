"""What `meshagent.api` exports, and that importing it stays cheap."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from scripts import reexports

import meshagent.agents
import meshagent.api

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.parametrize("package", [meshagent.api, meshagent.agents])
def test_every_exported_name_exists(package: ModuleType) -> None:
    assert all(getattr(package, name) is not None for name in package.__all__)


@pytest.mark.parametrize("package", [meshagent.api, meshagent.agents])
def test_type_checkers_see_what_is_loaded(package: ModuleType) -> None:
    assert package.__file__ is not None
    checked = {
        f"{node.module}.{alias.name}"
        for block in ast.walk(ast.parse(Path(package.__file__).read_text(encoding="utf-8")))
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    loaded = {f"{package.__name__}.{home}.{name}" for home, names in package._HOMES.items() for name in names}
    assert checked == loaded
    assert {name.rpartition(".")[2] for name in loaded} == {*package.__all__} - {"__version__"}


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


REEXPORTS = [
    pytest.param(module, *exported, id=f"{module}.{exported[0]}")
    for module, content in reexports.MODULES.items()
    for exported in content.exports()
]


@pytest.mark.parametrize(("module", "name", "home", "original"), REEXPORTS)
def test_import_paths_of_existing_programs_lead_to_the_definition(
    module: str, name: str, home: str, original: str
) -> None:
    there = import_module(f"meshagent.api.{module}")
    assert getattr(there, name) is getattr(import_module(home), original)
    assert name in there.__all__


def test_the_reexporting_modules_are_as_generated() -> None:
    assert reexports.stale_modules() == {}, "run scripts/reexports.py"


def test_the_reexporting_modules_are_attributes_of_the_package() -> None:
    for module in reexports.MODULES.keys() - meshagent.api.__all__:
        assert getattr(meshagent.api, module).__name__ == f"meshagent.api.{module}"


def test_the_import_linter_keeps_own_code_off_the_reexporting_modules() -> None:
    contracts = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    contract = next(contract for contract in contracts if contract["id"] == "old-import-paths")
    assert contract["protected_modules"] == [f"meshagent.api.{name}" for name in sorted(reexports.MODULES)]
    assert contract["allowed_importers"] == []
