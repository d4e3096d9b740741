"""The import contracts in pyproject.toml notice what they forbid: one violation for each, in a copy of the sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # `make check` runs the linter itself

ROOT = Path(__file__).parents[1]

VIOLATIONS = {
    "packages": ("api/violation.py", "import meshagent.server.config"),
    "server-layers": ("server/kernel/violation.py", "def later() -> None:\n    import meshagent.server.gateway.auth"),
    "server-without-client": ("server/gateway/violation.py", "from meshagent.api.room.client import RoomClient"),
    "gateway-by-handle": ("server/gateway/second_violation.py", "from meshagent.server.rooms.room import Room"),
    "services-without-wire": ("server/services/violation.py", "from meshagent.api.wire import names"),
    "old-import-paths": ("tools/violation.py", "from meshagent.api.schema import MeshSchema"),
    "no-cycles": ("server/websocket/heartbeat.py", "import meshagent.server.websocket.shell"),
}


def contracts() -> dict[str, str]:
    """The name of each contract by its id."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["id"]: contract["name"] for contract in project["tool"]["importlinter"]["contracts"]}


def lint(sources: Path) -> dict[str, str]:
    """KEPT or BROKEN for each contract's name, as `make lint` would say of these sources."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "--no-cache", "--no-logo", str(ROOT / "pyproject.toml")]
    completed = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)
    verdicts = {}
    for line in completed.stdout.splitlines():
        for verdict in ("KEPT", "BROKEN"):
            name, found, _ = line.partition(f" {verdict}")
            if found:
                verdicts[name] = verdict
    assert (completed.returncode == 0) == ("BROKEN" not in verdicts.values()), completed.stdout + completed.stderr
    return verdicts


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "meshagent", tmp_path / "meshagent", ignore=ignored)
    return tmp_path


def test_each_contract_has_a_violation_here() -> None:
    assert set(VIOLATIONS) == set(contracts())


def test_contracts_hold(sources: Path) -> None:
    assert lint(sources) == dict.fromkeys(contracts().values(), "KEPT")


def test_a_violation_of_each_contract_is_noticed(sources: Path) -> None:
    for file, statement in VIOLATIONS.values():
        with (sources / "meshagent" / file).open("a", encoding="utf-8") as module:
            module.write(f"\n{statement}\n")
    assert lint(sources) == dict.fromkeys(contracts().values(), "BROKEN")
