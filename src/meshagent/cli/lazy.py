"""`LazyGroup`: a command group that imports each command on first use, to keep startup fast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


class LazyGroup(TyperGroup):
    """A group whose `entry_points` map each command's name to `module:attribute`.

    The attribute is a `typer.Typer` (becomes a group) or a function (becomes a command).
    """

    entry_points: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands(self.entry_points, self.commands)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


class _Commands(MutableMapping[str, Any]):
    """Commands by name. Those in `commands` are loaded; the others are loaded on first access."""

    def __init__(self, entry_points: Mapping[str, str], commands: Mapping[str, Any]) -> None:
        self._entry_points = dict(entry_points)
        self._loaded = dict(commands)

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, self._entry_points[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        self._loaded.pop(name, None)
        self._entry_points.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entry_points | dict.fromkeys(self._loaded, ""))

    def __len__(self) -> int:
        return len(self._entry_points | self._loaded)


def _load(name: str, entry_point: str) -> Any:
    module, _, attribute = entry_point.partition(":")
    loaded = getattr(import_module(module), attribute)
    if isinstance(loaded, typer.Typer):
        group = get_group(loaded)
        group.name = name
        return group
    wrapper = typer.Typer(add_completion=False)
    wrapper.command(name)(loaded)
    return get_command(wrapper)
