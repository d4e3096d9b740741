"""How commands are declared and found: shared options, aliases, and groups that load their commands late."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from meshagent.cli.command import Options, command
from meshagent.cli.lazy import LazyGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(Options):
    city: Annotated[str, typer.Option(help="City.")] = "Paris"
    country: Annotated[str | None, typer.Option(help="Country.")] = None


app = typer.Typer()


@app.callback()
def root() -> None:
    """Commands of this test."""


@command(app, "greet", "hello")
async def greet(place: Place, name: Annotated[str, typer.Argument()]) -> None:
    """Greet somebody."""
    typer.echo(f"{name} from {place.city}, {place.country}")


@command(app)
def count_all(times: Annotated[int, typer.Option()] = 2) -> None:
    """Count."""
    typer.echo("x" * times)


def output_of(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_shared_options_become_options_of_the_command() -> None:
    assert output_of("greet", "Ann", "--city", "Rome", "--country", "Italy") == "Ann from Rome, Italy\n"
    assert output_of("greet", "Ann") == "Ann from Paris, None\n"


def test_aliases_work_and_are_hidden() -> None:
    assert output_of("hello", "Ann") == "Ann from Paris, None\n"
    assert "hello" not in output_of("--help")


def test_the_name_of_a_command_is_that_of_its_function() -> None:
    assert output_of("count-all", "--times", "3") == "xxx\n"


class Group(LazyGroup):
    entry_points: ClassVar[Mapping[str, str]] = {
        "env": "meshagent.cli.env:env",
        "queue": "meshagent.cli.queue:app",
        "missing": "meshagent.cli.no_such_module:app",
    }


def test_commands_are_loaded_when_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "meshagent.cli.env", raising=False)
    group = Group(name="root")
    assert group.list_commands(None) == ["env", "queue", "missing"]
    assert "meshagent.cli.env" not in sys.modules
    assert group.commands["env"].name == "env"
    assert "meshagent.cli.env" in sys.modules
    assert "send" in group.commands["queue"].commands  # type: ignore[attr-defined]  # a group has commands
    with pytest.raises(ModuleNotFoundError):
        group.commands["missing"]
