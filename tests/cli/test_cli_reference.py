"""The command tree as a whole: its reference, its exit codes, how soon it starts, and what shells complete."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from meshagent.cli.output import ExitCode
from meshagent.cli.room import _Room
from tests.support.cli_reference import ALIKE, PAGE, commands, page_with_tables

DOCUMENTED_IN_2025 = """
setup env version auth-login auth-logout auth-whoami project-create project-list project-activate
api-key-list api-key-create api-key-delete api-key-show api-key-activate session-list session-show
participant-token-generate call-tool call-agent call-toolkit call-schema agents-ask agents-invoke-tool
agents-list-agents agents-list-toolkits messaging-list-participants messaging-send messaging-broadcast storage-exists
storage-cp storage-show storage-rm storage-ls developer-watch queue-send queue-receive webhook-create webhook-list
webhook-delete service-create service-update service-test service-run service-show service-list service-delete
secret-list secret-delete secret-keys-create secret-keys-update secret-docker-create secret-docker-update
"""

SERVER_COMMAND = ("serve", "demo_bot")
"""The modules of `meshagent serve`, which alone need the server."""


def test_the_reference_lists_every_command_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_with_tables(page) == page, "run: python -m tests.support.cli_reference"


def test_the_reference_lists_every_exit_code() -> None:
    documented = re.findall(r"^\| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(code) for code in documented] == list(ExitCode)


def test_the_spellings_that_scripts_of_2025_use_are_there() -> None:
    present = {"-".join(path) for path, _ in commands()}
    assert set(DOCUMENTED_IN_2025.split()) - present == set()


def test_every_command_and_option_says_what_it_is_for() -> None:
    for path, command in commands():
        assert command.help, path
        for parameter in command.params:
            if not parameter.hidden and parameter.name != "help":
                assert parameter.help, (path, parameter.name)


def test_every_listing_has_json() -> None:
    for path, command in commands():
        if path[-1] in ("list", "ls", "tables", "indexes") or path[-1].startswith("list-"):
            assert any("--json" in parameter.opts for parameter in command.params), path


def test_a_rooms_groups_are_also_found_under_room() -> None:
    assert set(_Room.entry_points) == ALIKE


@pytest.mark.parametrize(
    "module", sorted(path.stem for path in Path(import_module("meshagent.cli").__path__[0]).glob("*.py"))
)
def test_no_module_of_the_command_line_needs_the_servers_parts(module: str) -> None:
    source = Path(import_module("meshagent.cli").__path__[0], f"{module}.py").read_text(encoding="utf-8")
    if module not in SERVER_COMMAND:
        assert "meshagent.server" not in source
        assert "meshagent.cli.demo_bot" not in source  # only `serve` reaches the modules that need the server


def test_the_tree_is_shown_without_the_sdk() -> None:
    program = (
        "import sys\nfrom meshagent.cli.app import app\n"
        "try:\n    app(['version'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'aiohttp', 'pycrdt', 'jwt', 'meshagent.cli.storage'} & sys.modules.keys()))"
    )
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert completed.stdout.splitlines()[-1] == "[]"


def test_shells_complete_commands_and_options() -> None:
    def completed(words: str) -> list[str]:
        # `python -m` has another program name than the installed script, for which shells ask.
        program = "from meshagent.cli.app import app; app(prog_name='meshagent')"
        environment = {
            "_MESHAGENT_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            "PATH": "",
        }
        ended = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        return ended.stdout.split()

    assert completed("meshagent sto") == ["storage"]
    assert {"cp", "ls", "rm"} <= set(completed("meshagent room storage "))
    assert "--recursive" in completed("meshagent storage ls --r")


def test_a_mistyped_command_is_answered_with_the_right_one() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "meshagent.cli", "storge", "ls"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == ExitCode.USAGE
    assert "storage" in ended.stderr
