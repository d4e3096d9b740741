"""Options and helpers shared by the commands that run agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import Options
from meshagent.cli.context import RoomTarget, find_room_access
from meshagent.cli.output import UsageError, note

if TYPE_CHECKING:
    from meshagent.agents.llm.adapter import LLMAdapter
    from meshagent.api.hosting.paths import Startable
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.descriptions import Requirement
    from meshagent.tools.toolkit import Toolkit

PANEL = "Agent options"
ECHO_MODEL = "echo"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions(Options):
    """Options of an agent with a language model."""

    agent_name: Annotated[
        str | None, typer.Option("--agent-name", help="Name of the agent in the room.", rich_help_panel=PANEL)
    ] = None
    rule: Annotated[
        list[str] | None,
        typer.Option("--rule", "-r", help="Instruction for the model; repeatable.", rich_help_panel=PANEL),
    ] = None
    rules_file: Annotated[
        Path | None, typer.Option("--rules-file", help="File with one rule per line.", rich_help_panel=PANEL)
    ] = None
    toolkit: Annotated[
        list[str] | None,
        typer.Option("--toolkit", "-t", help="Toolkit of the room to use; repeatable.", rich_help_panel=PANEL),
    ] = None
    schema: Annotated[
        list[str] | None,
        typer.Option("--schema", "-s", help="Document type that it may edit; repeatable.", rich_help_panel=PANEL),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            envvar="OPENAI_MODEL",
            help="Language model, reached through the room's proxy; `echo` repeats its input.",
            rich_help_panel=PANEL,
        ),
    ] = None

    def rules(self) -> list[str]:
        """Return all rules; UsageError if the rules file cannot be read."""
        lines: list[str] = []
        if self.rules_file is not None:
            try:
                lines = self.rules_file.expanduser().read_text(encoding="utf-8").splitlines()
            except OSError as error:
                raise UsageError(f"cannot read the rules file: {error}") from None
        return [*(self.rule or []), *(line.strip() for line in lines if line.strip())]

    def requires(self) -> list[Requirement]:
        """Return the schemas and toolkits that must be in the room."""
        from meshagent.api.room.descriptions import RequiredSchema, RequiredToolkit

        schemas: list[Requirement] = [RequiredSchema(name=name) for name in self.schema or []]
        return [*schemas, *(RequiredToolkit(name=name) for name in self.toolkit or [])]

    def llm_adapter(self) -> LLMAdapter | None:
        """Return the model's adapter, or None for the room's default model."""
        if self.model is None:
            return None
        if self.model == ECHO_MODEL:
            from meshagent.agents.llm.scripted import ScriptedAdapter

            return ScriptedAdapter()
        from meshagent.agents.llm.openai_adapter import OpenAIResponsesAdapter

        return OpenAIResponsesAdapter(self.model)


async def document_toolkits(room: RoomClient, schemas: Sequence[str]) -> list[Toolkit]:
    """Return tools for editing documents of these types. Their schemas must be in the room."""
    from meshagent.api import jsontext
    from meshagent.api.documents.schema import MeshSchema
    from meshagent.tools.documents import DocumentAuthoringToolkit, DocumentTypeAuthoringToolkit

    if not schemas:
        return []
    toolkits: list[Toolkit] = [DocumentAuthoringToolkit()]
    for name in schemas:
        file = await room.storage.download(path=f".schemas/{name}.json")
        content: Any = jsontext.loads(file.data)
        toolkits.append(DocumentTypeAuthoringToolkit(schema=MeshSchema.from_json(content), document_type=name))
    return toolkits


async def run_in_room(target: RoomTarget, agent: Startable, *, name: str) -> None:
    """Keep an agent in the room until interrupted. The same agent rejoins, so unfinished work survives a room's end."""
    from meshagent.agents.rejoin import rejoin_forever
    from meshagent.api.transport.websocket import WebSocketClientProtocol

    own = replace(target, name=name, role=target.role or "agent")
    entry = await find_room_access(own)
    await rejoin_forever(
        lambda: WebSocketClientProtocol(url=entry.url, token=entry.token),
        lambda: agent,
        on_started=lambda room: note(f"{name} is in room {room.room_name}; press Ctrl+C to stop"),
    )


async def run_as_service(make_agent: Callable[[], Startable], *, host: str | None, port: int | None, path: str) -> None:
    """Wait for invitations, and start an agent in each inviting room, until interrupted."""
    from meshagent.api.hosting.host import ServiceHost
    from meshagent.api.webhook.signals import wait_for_stop_signal

    service = ServiceHost(host=host, port=port)
    service.add_path(path=path, cls=make_agent)
    async with service:
        url = f"http://{service.host}:{service.port}{service.paths[0].path}"
        note(f"waiting for invitations at {url}; press Ctrl+C to stop")
        await wait_for_stop_signal()
