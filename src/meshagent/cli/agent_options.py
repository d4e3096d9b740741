"""What the commands that run agents have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import Options
from meshagent.cli.context import RoomTarget, find_entry
from meshagent.cli.output import UsageError, note

if TYPE_CHECKING:
    from meshagent.agents.llm.adapter import LLMAdapter
    from meshagent.api.hosting.paths import Startable
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.descriptions import Requirement
    from meshagent.tools.toolkit import Toolkit

PANEL = "What the agent is like"
ECHO_MODEL = "echo"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions(Options):
    """What an agent that works with a model is given."""

    agent_name: Annotated[
        str | None, typer.Option("--agent-name", help="The name under which it joins.", rich_help_panel=PANEL)
    ] = None
    rule: Annotated[
        list[str] | None,
        typer.Option("--rule", "-r", help="A sentence that it follows; may be repeated.", rich_help_panel=PANEL),
    ] = None
    rules_file: Annotated[
        Path | None, typer.Option("--rules-file", help="A file with a rule in each line.", rich_help_panel=PANEL)
    ] = None
    toolkit: Annotated[
        list[str] | None,
        typer.Option("--toolkit", "-t", help="A toolkit of the room that it uses; repeatable.", rich_help_panel=PANEL),
    ] = None
    schema: Annotated[
        list[str] | None,
        typer.Option("--schema", "-s", help="A kind of document that it writes; repeatable.", rich_help_panel=PANEL),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            envvar="OPENAI_MODEL",
            help="The language model, asked through the room; `echo` repeats what it is told.",
            rich_help_panel=PANEL,
        ),
    ] = None

    def rules(self) -> list[str]:
        """All rules; UsageError if the file cannot be read."""
        lines: list[str] = []
        if self.rules_file is not None:
            try:
                lines = self.rules_file.expanduser().read_text(encoding="utf-8").splitlines()
            except OSError as error:
                raise UsageError(f"the rules cannot be read: {error}") from None
        return [*(self.rule or []), *(line.strip() for line in lines if line.strip())]

    def requires(self) -> list[Requirement]:
        """What must be in the room."""
        from meshagent.api.room.descriptions import RequiredSchema, RequiredToolkit

        schemas: list[Requirement] = [RequiredSchema(name=name) for name in self.schema or []]
        return [*schemas, *(RequiredToolkit(name=name) for name in self.toolkit or [])]

    def llm_adapter(self) -> LLMAdapter | None:
        """The model; None for the room's default."""
        if self.model is None:
            return None
        if self.model == ECHO_MODEL:
            from meshagent.agents.llm.scripted import ScriptedAdapter

            return ScriptedAdapter()
        from meshagent.agents.llm.openai_adapter import OpenAIResponsesAdapter

        return OpenAIResponsesAdapter(self.model)


async def document_toolkits(room: RoomClient, schemas: Sequence[str]) -> list[Toolkit]:
    """Tools to write documents of these kinds; their schemas are in the room."""
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
    """Keep an agent in the room until interrupted; what it has not finished it takes from run to run of the room."""
    from meshagent.agents.rejoin import rejoin_forever
    from meshagent.api.transport.websocket import WebSocketClientProtocol

    own = replace(target, name=name, role=target.role or "agent")
    entry = await find_entry(own)
    await rejoin_forever(
        lambda: WebSocketClientProtocol(url=entry.url, token=entry.token),
        lambda: agent,
        on_started=lambda room: note(f"{name} is in the room {room.room_name}; Ctrl+C stops it"),
    )


async def run_as_service(make_agent: Callable[[], Startable], *, host: str | None, port: int | None, path: str) -> None:
    """Wait for calls, and take an agent into each room that calls, until interrupted."""
    from meshagent.api.hosting.host import ServiceHost
    from meshagent.api.hosting.signals import until_stopped

    service = ServiceHost(host=host, port=port)
    service.add_path(path=path, cls=make_agent)
    async with service:
        note(f"waiting for calls at http://{service.host}:{service.port}{service.paths[0].path}; Ctrl+C stops it")
        await until_stopped()
