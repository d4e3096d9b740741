"""`ApiScope`: which room APIs a token may use, and the questions that a server asks it.

Each `require_…` method returns nothing or raises `PermissionDeniedError` with a text that names what is missing.
The dispatcher calls them, so that every way into an operation passes the same line. Paths are to be given as
the services normalise them; a path with `.` or `..` parts fits no rule.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from meshagent.api.errors import InvalidRequestError, PermissionDeniedError
from meshagent.api.jsontext import Json
from meshagent.api.tokens.grants import (
    AdminGrant,
    AgentsGrant,
    DatasetGrant,
    DeveloperGrant,
    LivekitGrant,
    LlmGrant,
    MessagingGrant,
    OpenSection,
    QueuesGrant,
    StorageAction,
    StorageGrant,
    SyncGrant,
    TableAction,
)

MessagingAction = Literal["send", "broadcast", "list"]
AgentsAction = Literal[
    "register_agent", "register_public_toolkit", "register_private_toolkit", "call", "use_agents", "use_tools"
]

_AGENT_ACTION_TEXTS: dict[AgentsAction, str] = {
    "register_agent": "register agents",
    "register_public_toolkit": "register public toolkits",
    "register_private_toolkit": "register private toolkits",
    "call": "call services into the room",
    "use_agents": "use agents",
    "use_tools": "use tools",
}
_DATASET_NAMES = ("dataset", "datasets", "database")


class ApiScope(BaseModel):
    """What a token allows, one section per room API; an absent section allows nothing of that API.

    The JSON form leaves defaults out: `{"storage": {}}` is storage without limits. Sections that are not known
    here are kept and written back. `dataset` is also read under its older names `database` and `datasets`.
    """

    model_config = ConfigDict(extra="allow", validate_assignment=True)

    livekit: LivekitGrant | None = None
    queues: QueuesGrant | None = None
    messaging: MessagingGrant | None = None
    dataset: DatasetGrant | None = None
    sqlite: OpenSection | None = None
    memory: OpenSection | None = None
    sync: SyncGrant | None = None
    storage: StorageGrant | None = None
    containers: OpenSection | None = None
    developer: DeveloperGrant | None = None
    agents: AgentsGrant | None = None
    llm: LlmGrant | None = None
    admin: AdminGrant | None = None
    secrets: OpenSection | None = None
    tunnels: OpenSection | None = None
    services: OpenSection | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_older_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        found = [data[name] for name in _DATASET_NAMES if data.get(name) is not None]
        if not found:
            return data
        return {key: value for key, value in data.items() if key not in _DATASET_NAMES} | {"dataset": found[0]}

    # Ready-made scopes

    @classmethod
    def user_default(cls) -> ApiScope:
        """The default for people: everything but language models, administration and tunnels."""
        return cls(
            livekit=LivekitGrant(),
            queues=QueuesGrant(),
            messaging=MessagingGrant(),
            dataset=DatasetGrant(),
            sqlite=OpenSection(),
            memory=OpenSection(),
            sync=SyncGrant(),
            storage=StorageGrant(),
            containers=OpenSection(),
            developer=DeveloperGrant(),
            agents=AgentsGrant(),
            secrets=OpenSection(),
            services=OpenSection(),
        )

    @classmethod
    def agent_default(cls, *, tunnels: bool = False) -> ApiScope:
        """The default for agents: everything but administration and, by default, tunnels."""
        scope = cls.user_default()
        scope.llm = LlmGrant()
        if tunnels:
            scope.tunnels = OpenSection()
        return scope

    @classmethod
    def room_default(cls) -> ApiScope:
        """The whole room API without administration, as tokens of the 0.5 generation allow it."""
        return cls.agent_default(tunnels=True)

    @classmethod
    def full(cls) -> ApiScope:
        """Everything, administration included."""
        scope = cls.room_default()
        scope.admin = AdminGrant()
        return scope

    # JSON

    def to_json(self) -> dict[str, Json]:
        """The JSON form, without defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @classmethod
    def from_json(cls, data: Json) -> ApiScope:
        """Read a scope from its JSON form.

        Raises:
            InvalidRequestError: It is not an object, or a known member has the wrong type.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(["api", *(str(part) for part in first["loc"])])
            raise InvalidRequestError(f"invalid token grant {where!r}: {first['msg']}") from None

    # Checks

    def require_messaging(self, action: MessagingAction) -> None:
        grant = self.messaging
        if grant is None or getattr(grant, action) is not True:
            _deny("list participants for messaging" if action == "list" else f"{action} messages")

    def require_storage(self, path: str, action: StorageAction) -> None:
        """`list` covers exists, stat and list; `read` download; `presign` download URLs."""
        if self.storage is None or not self.storage.allows(path, action):
            _deny(f"{'make URLs for' if action == 'presign' else action} {path!r} in storage")

    def require_storage_read(self, path: str) -> None:
        self.require_storage(path, "read")

    def require_storage_write(self, path: str) -> None:
        self.require_storage(path, "write")

    def require_sync(self, path: str, *, write: bool) -> None:
        grant = self.sync
        if grant is None or not (grant.can_write(path) if write else grant.can_read(path)):
            _deny(f"{'edit' if write else 'open'} the document {path!r}")

    def can_write_document(self, path: str) -> bool:
        """Whether the document may be edited; checked once, when it is opened."""
        return self.sync is not None and self.sync.can_write(path)

    def require_queue_send(self, queue: str) -> None:
        if self.queues is None or not self.queues.can_send(queue):
            _deny(f"send to the queue {queue!r}")

    def require_queue_receive(self, queue: str) -> None:
        if self.queues is None or not self.queues.can_receive(queue):
            _deny(f"receive from the queue {queue!r}")

    def require_queue_list(self) -> None:
        if self.queues is None or not self.queues.list:
            _deny("list queues")

    def require_table(self, table: str, action: TableAction) -> None:
        if self.dataset is None or not self.dataset.allows(table, action):
            _deny(f"{'write to' if action == 'write' else action} the table {table!r}")

    def require_table_list(self) -> None:
        if self.dataset is None or not self.dataset.list_tables:
            _deny("list tables")

    def require_agents(self, action: AgentsAction) -> None:
        """`use_agents` covers listing and asking agents, `use_tools` listing toolkits and invoking tools."""
        if self.agents is None or getattr(self.agents, action) is not True:
            _deny(_AGENT_ACTION_TEXTS[action])

    def require_developer_logs(self) -> None:
        """For reading the developer log; writing to it needs `require_developer`."""
        if self.developer is None or not self.developer.logs:
            _deny("read the developer log")

    def require_developer(self) -> None:
        if self.developer is None:
            _deny("use the developer log")

    def require_livekit(self, breakout_room: str | None = None) -> None:
        if self.livekit is None:
            _deny("use audio and video")
        if breakout_room is not None and not self.livekit.can_join_breakout_room(breakout_room):
            _deny(f"join the breakout room {breakout_room!r}")

    def require_llm(self, model: str | None = None) -> None:
        if self.llm is None:
            _deny("use language models")
        if model is not None and self.llm.models is not None and model not in self.llm.models:
            _deny(f"use the model {model!r}")

    def require_section(self, section: str) -> None:
        """For sections that are allowed as a whole, such as `secrets` and `services`."""
        if getattr(self, section, None) is None:
            _deny(f"use the {section} API")


class _SharedScope(ApiScope):
    """A scope that participants share, and that cannot be changed."""

    model_config = ConfigDict(frozen=True)


FULL_ROOM_SCOPE: Final[ApiScope] = _SharedScope.model_validate(dict(ApiScope.room_default()))
"""`ApiScope.room_default()`, one immutable object: `scope is FULL_ROOM_SCOPE` settles every room check at once."""

NO_SCOPE: Final[ApiScope] = _SharedScope()
"""Nothing: what a token of the current generation allows without an `api` grant."""


def _deny(what: str) -> NoReturn:
    raise PermissionDeniedError(f"your token does not allow you to {what}")
