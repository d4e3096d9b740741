"""Groups whose commands are imported when they are used, so that each command starts as fast as it can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


class LazyGroup(TyperGroup):
    """A group that knows where its commands are: name to `module:attribute`.

    The attribute is a `typer.Typer`, which becomes a group, or a function, which becomes a command.
    """

    places: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands(self.places, self.commands)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


class _Commands(MutableMapping[str, Any]):
    """Commands by name, loaded when they are asked for; `commands` are there already."""

    def __init__(self, places: Mapping[str, str], commands: Mapping[str, Any]) -> None:
        self._places = dict(places)
        self._loaded = dict(commands)

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, self._places[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        self._loaded.pop(name, None)
        self._places.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places | dict.fromkeys(self._loaded, ""))

    def __len__(self) -> int:
        return len(self._places | self._loaded)


def _load(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        group = get_group(found)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False)
    alone.command(name)(found)
    return get_command(alone)
