"""`agent.*`: agents that can be asked and toolkits that can be invoked (protocol 9)."""

from __future__ import annotations

from typing import Any

import msgspec

from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import Empty, Event, Operation
from meshagent.api.jsontext import Json


class RegisterAgentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that its participant hosts. Only `name` is certain to be there."""

    name: str
    title: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    requires: list[dict[str, Any]] | None = None
    supports_tools: bool | None = None
    labels: list[str] | None = None


class RegisteredTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool of a registered toolkit; without `input_schema` it takes a whole content (a request tool)."""

    title: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    thumbnail_url: str | None = None
    defs: dict[str, Any] | None = None
    pricing: str | None = None
    supports_context: bool | None = None
    input_spec: dict[str, Any] | None = None
    output_spec: dict[str, Any] | None = None
    strict: bool | None = None


class RegisterToolkitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A toolkit that its participant hosts; a private one is visible to that participant's callers only."""

    name: str
    title: str | None = None
    description: str | None = None
    thumbnail_url: str | None = None
    public: bool = False
    tools: dict[str, RegisteredTool] = msgspec.field(default_factory=dict)


class RegistrationResult(msgspec.Struct, frozen=True, kw_only=True):
    id: str


class UnregisterRequest(msgspec.Struct, frozen=True, kw_only=True):
    id: str


class ListAgentsResult(msgspec.Struct, frozen=True, kw_only=True):
    agents: list[dict[str, Any]]


class ListToolkitsRequest(msgspec.Struct, frozen=True, kw_only=True):
    participant_id: str | None = None


class ListToolkitsResult(msgspec.Struct, frozen=True, kw_only=True):
    """Toolkit name to its description, in which `tools` maps tool name to description."""

    tools: dict[str, dict[str, Any]]


class AskRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask an agent. `requires` lists toolkit requirements; JavaScript programs send `toolkits` instead."""

    agent: str
    arguments: msgspec.Raw
    on_behalf_of_id: str | None = None
    requires: list[dict[str, Any]] | None = None
    toolkits: dict[str, dict[str, Any]] | None = None


class AskResult(msgspec.Struct, frozen=True, kw_only=True):
    answer: msgspec.Raw
    caller_context: Json = None


class InvokeToolRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Call a tool. For a request tool `arguments` is the content's header, and the payload its bytes."""

    toolkit: str
    tool: str
    arguments: msgspec.Raw
    participant_id: str | None = None
    on_behalf_of_id: str | None = None
    caller_context: dict[str, Any] | None = None


class CallRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Invite the service at `url` into the room under the participant name `name`."""

    name: str
    url: str
    arguments: Json = msgspec.field(default_factory=dict)


class ForwardedToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """`agent.tool_call.TOOLKIT` as the host receives it; the payload is the caller's."""

    name: str
    arguments: msgspec.Raw
    caller_id: str
    on_behalf_of_id: str | None = None
    caller_context: dict[str, Any] | None = None


class ForwardedAsk(msgspec.Struct, frozen=True, kw_only=True):
    """`agent.ask` as the host receives it; `toolkits` are lists, unlike in a listing."""

    task_id: str
    agent: str
    arguments: msgspec.Raw
    caller_id: str
    toolkits: list[dict[str, Any]]
    context: dict[str, Any]
    on_behalf_of_id: str | msgspec.UnsetType = msgspec.UNSET
    jwt: str | msgspec.UnsetType = msgspec.UNSET
    api_url: str | msgspec.UnsetType = msgspec.UNSET


class AskAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`agent.ask_response`, one way from the host: `answer`, or `error` in words."""

    task_id: str
    answer: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    caller_context: Json = None


REGISTER_AGENT = Operation("agent.register_agent", RegisterAgentRequest, RegistrationResult)
UNREGISTER_AGENT = Operation("agent.unregister_agent", UnregisterRequest, Empty)
REGISTER_TOOLKIT = Operation("agent.register_toolkit", RegisterToolkitRequest, RegistrationResult)
UNREGISTER_TOOLKIT = Operation("agent.unregister_toolkit", UnregisterRequest, Empty)
LIST_AGENTS = Operation("agent.list_agents", Empty, ListAgentsResult)
LIST_TOOLKITS = Operation("agent.list_toolkits", ListToolkitsRequest, ListToolkitsResult)
ASK = Operation("agent.ask", AskRequest, AskResult)
INVOKE_TOOL: Operation[InvokeToolRequest, Body] = Operation("agent.invoke_tool", InvokeToolRequest, Body)
CALL = Operation("agent.call", CallRequest, Empty)

ASKED = Event("agent.ask", ForwardedAsk)
"""Somebody asks an agent that this participant hosts."""
