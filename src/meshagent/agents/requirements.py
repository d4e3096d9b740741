"""Bringing into a room what an agent requires: document schemas and toolkits (spec room-protocol 5.5.9, Appendix D)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.errors import AlreadyExistsError, NotFoundError, RequestTimeoutError
from meshagent.api.helpers import deploy_schema
from meshagent.api.room.descriptions import RequiredSchema, RequiredToolkit, Requirement

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["install_requirements"]

BUILT_IN_HOST = "https://api.meshagent.com"
"""The address by which every server knows its own schemas and toolkits; it is not called (spec room-protocol 5.5.9)."""

FIRST_LOOK = 0.02
LAST_LOOK = 1.0


async def install_requirements(room: RoomClient, requires: Iterable[Requirement], *, timeout: float = 60.0) -> None:
    """Return when everything in `requires` is in the room. What is there already costs one request.

    A missing schema that this package ships is deployed; anything else that is missing is called in: from the
    requirement's URL, or from the server.

    Args:
        room: Where it is needed.
        requires: What is needed.
        timeout: Seconds to wait for all that was called in.

    Raises:
        NotFoundError: The server does not know a schema or toolkit, or the toolkit lacks a required tool.
        RequestTimeoutError: Something was called in and did not come.
    """
    wanted = list(requires)
    waiting_for = "the requirements"
    try:
        async with asyncio.timeout(timeout):
            for requirement in wanted:
                waiting_for = f"the {_kind(requirement)} {requirement.name!r}"
                if isinstance(requirement, RequiredSchema):
                    await _install_schema(room, requirement)
                elif isinstance(requirement, RequiredToolkit):
                    await _install_toolkit(room, requirement)
    except TimeoutError:
        raise RequestTimeoutError(f"{waiting_for} did not come into the room within {timeout:g} seconds") from None


def _kind(requirement: Requirement) -> str:
    return "schema" if isinstance(requirement, RequiredSchema) else "toolkit"


async def _install_schema(room: RoomClient, requirement: RequiredSchema) -> None:
    path = f".schemas/{requirement.name}.json"
    if await room.storage.exists(path=path):
        return
    shipped = builtin_schema(requirement.name)
    if shipped is not None and requirement.url is None:
        try:
            await deploy_schema(room=room, schema=shipped, name=requirement.name, overwrite=False)
        except AlreadyExistsError:
            pass  # another agent was faster
        return
    arrived = asyncio.Event()

    def on_updated(path: str) -> None:
        if path.strip("/") == f".schemas/{requirement.name}.json":
            arrived.set()

    room.storage.on("file.updated", on_updated)
    try:
        await _call_in(room, requirement, f"{BUILT_IN_HOST}/schemas/{requirement.name}")
        if not await room.storage.exists(path=path):
            await arrived.wait()
    finally:
        room.storage.off("file.updated", on_updated)


async def _install_toolkit(room: RoomClient, requirement: RequiredToolkit) -> None:
    if await _has_toolkit(room, requirement):
        return
    await _call_in(room, requirement, f"{BUILT_IN_HOST}/toolkits/{requirement.name}")
    # A service accepts a call before it joins, and no message tells when a toolkit is registered.
    delay = FIRST_LOOK
    while not await _has_toolkit(room, requirement):
        await asyncio.sleep(delay)
        delay = min(2 * delay, LAST_LOOK)


async def _has_toolkit(room: RoomClient, requirement: RequiredToolkit) -> bool:
    for toolkit in await room.agents.list_toolkits():
        if toolkit.name == requirement.name:
            for tool in requirement.tools or ():
                toolkit.get_tool(tool)
            return True
    return False


async def _call_in(room: RoomClient, requirement: Requirement, built_in_url: str) -> None:
    try:
        await room.agents.make_call(name=requirement.name, url=requirement.url or built_in_url, arguments={})
    except NotFoundError as error:
        kind = _kind(requirement)
        raise NotFoundError(f"the {kind} {requirement.name!r} is required, and cannot be brought: {error}") from error
