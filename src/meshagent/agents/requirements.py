"""Install the document schemas and toolkits that an agent requires (protocol 9.10, 9.12)."""

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
"""Base URL that names the schemas and toolkits built into every server; never requested (protocol 9.10)."""

FIRST_POLL_DELAY = 0.02
MAX_POLL_DELAY = 1.0


async def install_requirements(room: RoomClient, requires: Iterable[Requirement], *, timeout: float = 60.0) -> None:
    """Return when everything in `requires` is in the room. A requirement that is already there costs one request.

    A missing schema that ships with this package is deployed. For anything else that is missing, the external service
    at the requirement's URL is invited into the room, or the server's built-in one.

    Args:
        room: The room to install into.
        requires: The required schemas and toolkits.
        timeout: Seconds to wait in total.

    Raises:
        NotFoundError: The server does not know a schema or toolkit, or the toolkit lacks a required tool.
        RequestTimeoutError: An invited service did not install its schema or toolkit in time.
    """
    waiting_for = "requirements"
    try:
        async with asyncio.timeout(timeout):
            for requirement in list(requires):
                waiting_for = f"{_kind(requirement)} {requirement.name!r}"
                if isinstance(requirement, RequiredSchema):
                    await _install_schema(room, requirement)
                elif isinstance(requirement, RequiredToolkit):
                    await _install_toolkit(room, requirement)
    except TimeoutError:
        raise RequestTimeoutError(f"{waiting_for} was not installed within {timeout:g} seconds") from None


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
            pass  # another agent deployed it first
        return
    installed = asyncio.Event()

    def on_updated(path: str) -> None:
        if path.strip("/") == f".schemas/{requirement.name}.json":
            installed.set()

    room.storage.on("file.updated", on_updated)
    try:
        await _invite_service(room, requirement, f"{BUILT_IN_HOST}/schemas/{requirement.name}")
        if not await room.storage.exists(path=path):
            await installed.wait()
    finally:
        room.storage.off("file.updated", on_updated)


async def _install_toolkit(room: RoomClient, requirement: RequiredToolkit) -> None:
    if await _has_toolkit(room, requirement):
        return
    await _invite_service(room, requirement, f"{BUILT_IN_HOST}/toolkits/{requirement.name}")
    # Polling: a service accepts the invitation before it joins, and no message announces a registered toolkit.
    delay = FIRST_POLL_DELAY
    while not await _has_toolkit(room, requirement):
        await asyncio.sleep(delay)
        delay = min(2 * delay, MAX_POLL_DELAY)


async def _has_toolkit(room: RoomClient, requirement: RequiredToolkit) -> bool:
    for toolkit in await room.agents.list_toolkits():
        if toolkit.name == requirement.name:
            for tool in requirement.tools or ():
                toolkit.get_tool(tool)
            return True
    return False


async def _invite_service(room: RoomClient, requirement: Requirement, built_in_url: str) -> None:
    try:
        await room.agents.make_call(name=requirement.name, url=requirement.url or built_in_url, arguments={})
    except NotFoundError as error:
        kind = _kind(requirement)
        raise NotFoundError(f"cannot install required {kind} {requirement.name!r}: {error}") from error
