"""Every setting of the server, in one immutable object.

`load_config` in `config_sources` builds it from flags, environment, file and these defaults. Sizes are bytes,
times are float seconds. What each setting does is its description here and its entry in
`docs/reference/configuration.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
)
from pydantic import NonNegativeFloat as Seconds

KIB = 1024
MIB = 1024 * 1024
GIB = 1024 * 1024 * 1024


def _http_url(text: str) -> str:
    if not text.startswith(("http://", "https://")) or not text.partition("://")[2].strip("/"):
        raise ValueError("must be a URL that begins with http:// or https://")
    return text.rstrip("/")


HttpUrlText = Annotated[str, AfterValidator(_http_url)]
Price = Annotated[float, Field(ge=0, le=1_000_000)]
Cost = Annotated[float, Field(ge=0, le=1_000_000_000)]


class Settings(BaseModel):
    """A group of settings: frozen, and unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class LimitSettings(Settings):
    """Bounds that keep one participant from taking the server's memory, disk or time from the others."""

    max_packet_bytes: PositiveInt = Field(
        default=4 * MIB + 4 * KIB, description="Largest WebSocket message taken, which is one packet of a room message."
    )
    max_message_bytes: PositiveInt = Field(
        default=64 * MIB, description="Largest room message, all of its packets together."
    )
    max_buffered_bytes: PositiveInt = Field(
        default=8 * MIB,
        description="What others may have waiting for one participant before their messages wait or are refused.",
    )
    drain_timeout: Seconds = Field(
        default=10.0,
        description="Time in which a participant with more than that waiting must read an eighth of it, or it is cut.",
    )
    max_pending_requests: PositiveInt = Field(
        default=10_000, description="Requests of one connection that may wait at a time."
    )
    max_pending_bytes: PositiveInt = Field(
        default=16 * MIB,
        description="Content of those requests; beyond it the connection is read no further for a while.",
    )
    max_waiting_bytes_per_room: PositiveInt = Field(
        default=256 * MIB,
        description="What all participants of a room may have waiting: unfinished messages, requests, and what they"
        " have not read.",
    )
    max_waiting_bytes: PositiveInt = Field(
        default=GIB, description="The same of all rooms; beyond either, those with the most waiting are held back."
    )
    max_presence_bytes_per_room: PositiveInt = Field(
        default=64 * MIB, description="Attributes, agents and toolkits of all participants of a room, as JSON."
    )
    max_presence_bytes: PositiveInt = Field(default=512 * MIB, description="The same of all rooms.")
    requests_per_second_per_token: NonNegativeFloat = Field(
        default=0.0, description="Requests a second with one token, in rooms and by HTTP; 0 is no limit."
    )
    requests_per_second_per_project: NonNegativeFloat = Field(
        default=0.0,
        description="Requests a second of everybody in a project but the server's administrator; 0 is no limit.",
    )
    max_connections_per_room: PositiveInt = Field(default=10_000, description="Participants in one room.")
    max_file_bytes: PositiveInt = Field(default=5 * GIB, description="Largest file in a room's storage.")
    max_document_bytes: PositiveInt = Field(default=64 * MIB, description="Largest document, as its encoded state.")
    max_queue_messages: PositiveInt = Field(
        default=1_000_000, description="Messages that one queue holds; more are refused."
    )
    max_queue_bytes: PositiveInt = Field(
        default=GIB, description="Bytes of the messages that one queue holds, as JSON; more are refused."
    )
    http_head_timeout: Seconds = Field(
        default=10.0, description="Longest that a new connection may take to send its request line and headers."
    )
    join_timeout: Seconds = Field(
        default=30.0, description="Longest that opening a room may take before a join is given up."
    )
    tool_call_timeout: Seconds = Field(
        default=600.0,
        description="Longest that a tool may take when an MCP client calls it; within rooms calls wait for as long as"
        " their host stays.",
    )
    ping_interval: Seconds = Field(default=30.0, description="Silence of a client after which the server pings it.")
    ping_timeout: Seconds = Field(default=20.0, description="Silence after that ping which ends the connection.")


class LivekitSettings(Settings):
    """The LiveKit server for audio and video. Without all three, `livekit.connect` says that it is not configured."""

    url: str | None = Field(default=None, description="What clients connect to, such as wss://livekit.example.com.")
    api_key: str | None = Field(default=None, description="The key that room tokens are made with.")
    api_secret: SecretStr | None = Field(default=None, description="That key's secret.")


class ModelPrice(Settings):
    """What a million tokens of a model cost, in the currency of the budgets; by default cached input costs as other."""

    input: Price = Field(description="Tokens of the request.")
    output: Price = Field(default=0.0, description="Tokens of the answer, thinking included.")
    cached_input: Price | None = Field(default=None, description="Tokens of the request that it had cached.")


class ModelBudget(Settings):
    """What one token, room or project may use of the models; 0 is no limit. Days and months are those of UTC."""

    concurrent_requests: NonNegativeInt = Field(default=0, description="Requests under way at a time; 0 is no limit.")
    requests_per_minute: NonNegativeInt = Field(default=0, description="Requests a minute; 0 is no limit.")
    tokens_per_minute: NonNegativeInt = Field(default=0, description="Input and output tokens a minute; 0 is no limit.")
    tokens_per_day: NonNegativeInt = Field(default=0, description="Input and output tokens a day; 0 is no limit.")
    cost_per_day: Cost = Field(default=0.0, description="Cost a day by `llm.prices`; 0 is no limit.")
    cost_per_month: Cost = Field(default=0.0, description="Cost a month by `llm.prices`; 0 is no limit.")


class LlmSettings(Settings):
    """The language models that participants use through the server. With neither URL nor key it answers by itself."""

    base_url: HttpUrlText | None = Field(
        default=None,
        description="OpenAI-compatible API that requests go to; by default OpenAI's own if there is a key,"
        " else a built-in model that repeats what it is told.",
    )
    api_key: SecretStr | None = Field(
        default=None, min_length=1, description="The server's key there; participants never see it."
    )
    default_model: str = Field(
        default="gpt-5", min_length=1, description="The model that is used when one asks for the model `default`."
    )
    max_request_bytes: PositiveInt = Field(default=32 * MIB, description="Largest request to a model, images included.")
    max_concurrent_requests: PositiveInt = Field(
        default=200, description="Requests to models that may be under way at a time; more are refused."
    )
    max_output_tokens: PositiveInt = Field(
        default=16_384,
        description="Most tokens of one answer, thinking included; what is asked for where a request names no bound.",
    )
    allowed_tools: tuple[str, ...] = Field(
        default=("function", "custom"),
        description="Types of tools that requests may bring; others run at the provider, on its shared account.",
    )
    timeout: Seconds = Field(default=300.0, description="Longest silence of the provider within one request.")
    prices: dict[str, ModelPrice] = Field(
        default={},
        description="Price of each model; a name with `*` at its end stands for all that begin so, the longest counts.",
    )
    usage_days: PositiveInt = Field(
        default=400, description="Days for which the use of models is kept, summed up by day."
    )
    token_budget: ModelBudget = Field(default_factory=ModelBudget)
    room_budget: ModelBudget = Field(default_factory=ModelBudget)
    project_budget: ModelBudget = Field(default_factory=ModelBudget)


class EngineProcessSettings(Settings):
    """The processes in which tables and SQL run, and what one request may take before its process is killed."""

    processes: PositiveInt = Field(
        default=2, description="At most so many processes; all requests of a room go to the same one."
    )
    memory_bytes: PositiveInt = Field(
        default=2 * GIB, description="Memory that one process may have in use; one that takes more is killed."
    )
    read_seconds: PositiveFloat = Field(
        default=40.0, description="Longest that a search, or one step of a query, may run before its process is killed."
    )
    write_seconds: PositiveFloat = Field(
        default=600.0, description="Longest that a write may run, waiting for other writes not counted."
    )
    cpu_seconds: PositiveFloat = Field(
        default=120.0,
        description="Most processor time that one search or step of a query may take; a write may take ten times it.",
    )
    idle_seconds: PositiveFloat = Field(default=300.0, description="How long a process stays that has nothing to do.")


class OutgoingSettings(Settings):
    """What the server itself may call: webhooks, agent and schema services given by URL."""

    allow: tuple[str, ...] = Field(
        default=("*",),
        description="Host names or addresses that may be called; `*` is any, `*.example.com` any below it.",
    )
    deny: tuple[str, ...] = Field(default=(), description="The same form; what is named here is never called.")
    allow_private_addresses: bool = Field(
        default=True,
        description="Whether loopback and private networks may be called. Switch off where strangers hold tokens.",
    )
    timeout: Seconds = Field(default=30.0, description="Longest that one outgoing request may take.")


class WebhookSettings(Settings):
    """How long the events of webhooks are kept and tried."""

    max_age_hours: PositiveFloat = Field(default=72.0, description="How long the delivery of one event is tried.")
    disable_after_days: NonNegativeFloat = Field(
        default=5.0, description="How long every attempt of a webhook must fail until it is disabled; 0 is never."
    )
    max_pending: PositiveInt = Field(
        default=10_000, description="Events that may wait for one webhook; then the oldest are dropped."
    )
    max_pending_bytes: PositiveInt = Field(default=16 * MIB, description="The same for the sizes of their data.")
    max_finished: PositiveInt = Field(
        default=1_000, description="Finished deliveries of one webhook that are kept for its delivery log."
    )
    keep_days: PositiveFloat = Field(default=14.0, description="How long finished deliveries are kept.")


class ServerConfig(Settings):
    """All settings of one server."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 is every interface."
    )
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(
        default=Path("meshagent-data"), description="Folder for everything that is kept; made when missing."
    )
    public_url: HttpUrlText | None = Field(
        default=None,
        description="The server's address as its users see it, for links; by default made of host and port.",
    )
    durability: Literal["fsync", "process"] = Field(
        default="fsync",
        description="What an acknowledged write survives: `fsync` a power cut, `process` the server being killed.",
    )
    idle_grace: Seconds = Field(
        default=30.0, description="How long a room stays in memory after its last person has left."
    )
    shutdown_grace: Seconds = Field(default=10.0, description="How long a stopping server waits for work in hand.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe message logged."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="One line of text, or one JSON object, per message."
    )
    demo: bool = Field(
        default=False, description="Whether the room `demo` of the default project has a chat bot, to try things with."
    )
    metrics: bool = Field(default=True, description="Whether `/metrics` answers in Prometheus format.")
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL database for accounts, postgresql://…; by default a file in the data folder.",
    )
    project_id: str | None = Field(
        default=None, min_length=1, description="The default project's id; made at first start."
    )
    key_id: str | None = Field(default=None, min_length=1, description="The default key's id; made at first start.")
    secret: SecretStr | None = Field(
        default=None, min_length=1, description="The default key's secret, which also verifies tokens without a key id."
    )
    admin_token: SecretStr | None = Field(
        default=None, min_length=1, description="Bearer token that opens the whole accounts API; made at first start."
    )
    encryption_key: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="Encrypts secrets at rest; made at first start and kept in the data folder.",
    )
    webhook_secret: SecretStr | None = Field(
        default=None, min_length=1, description="Signs calls to services; by default the default key's secret."
    )
    limits: LimitSettings = Field(default_factory=LimitSettings)
    livekit: LivekitSettings = Field(default_factory=LivekitSettings)
    llm: LlmSettings = Field(default_factory=LlmSettings)
    engines: EngineProcessSettings = Field(default_factory=EngineProcessSettings)
    outgoing: OutgoingSettings = Field(default_factory=OutgoingSettings)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)

    def local_url(self, port: int) -> str:
        """How programs on this machine reach the server when it listens on `port`."""
        host = "localhost" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def base_url(self, port: int) -> str:
        """How users reach the server: `public_url`, else `local_url(port)`. No trailing slash."""
        return self.public_url or self.local_url(port)

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()
