"""Declare commands as functions or coroutine functions, with shared options as one parameter.

A parameter whose type is a subclass of `Options` stands for all options that the class declares as fields:

    @command(app, "ls")
    async def ls(target: RoomTarget, path: Annotated[str, typer.Argument()] = "") -> None: ...

This command has the argument `path` and the options of `RoomTarget`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_type_hints

import typer

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Base class of shared options. Subclasses annotate their fields like typer parameters."""


def command(app: typer.Typer, *names: str, **settings: Any) -> Callable[[Function], Function]:
    """Register the decorated function as a command of `app`. Names after the first become hidden aliases."""

    def add(function: Function) -> Function:
        runner = runnable(function)
        name, *aliases = names or (function.__name__.replace("_", "-"),)
        app.command(name, **settings)(runner)
        for alias in aliases:
            app.command(alias, **{**settings, "hidden": True})(runner)
        return function

    return add


def runnable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `function` for typer: expands shared options into parameters, and runs coroutine functions."""
    hints = get_type_hints(function, include_extras=True)
    bundles: dict[str, type[Options]] = {}
    own: list[inspect.Parameter] = []
    shared: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if isinstance(hint, type) and issubclass(hint, Options):
            bundles[parameter.name] = hint
            shared.extend(_options(hint))
        else:
            own.append(parameter.replace(annotation=hint, kind=parameter.KEYWORD_ONLY))

    def run(**values: Any) -> None:
        for name, bundle in bundles.items():
            values[name] = bundle(**{field.name: values.pop(field.name) for field in fields(bundle)})
        result = function(**values)
        if inspect.iscoroutine(result):
            asyncio.run(result)

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *shared]}
    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]  # read by inspect.signature
    return run


def _options(bundle: type[Options]) -> list[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(bundle)
    ]
