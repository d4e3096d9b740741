"""Models of the bodies of the accounts REST API: validation of requests, and shapes of answers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from meshagent.api import jsontext
from meshagent.api.accounts.services import Service
from meshagent.server.kernel.http_url import http_url
from meshagent.server.stores.outbox import Delivery, Outcome


def _called(url: str) -> str:
    """A URL that the server is going to call."""
    http_url(url)
    return url


Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+$")]
Note = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")]
Url = Annotated[str, StringConstraints(max_length=4000, pattern=r"^https?://[^\x00-\x20]+$"), AfterValidator(_called)]
Email = Annotated[str, StringConstraints(max_length=320, pattern=r"^[^@\x00-\x20]+@[^@\x00-\x20]+$")]
RoleName = Literal["member", "developer", "admin"]
JsonObject = dict[str, Any]


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class PageQuery(BaseModel):
    """Which part of a list; the answer's `next_offset` is where the rest begins."""

    limit: Annotated[int, Field(ge=1, le=1000, description="Most entries in the answer.")] = 1000
    offset: Annotated[int, Field(ge=0, le=1_000_000_000, description="Entries to skip.")] = 0


class ListAnswer(Answer):
    next_offset: int | None = None


class Ok(Answer):
    ok: bool = True


class Created(Answer):
    id: str


# Projects and users


class NewProject(BaseModel):
    name: Name
    settings: JsonObject | None = None
    owner_user_id: Name | None = None


class ProjectAnswer(Answer):
    id: str
    name: str
    owner_user_id: str | None = None
    settings: JsonObject
    created_at: datetime
    role: str | None = None


class ProjectList(ListAnswer):
    projects: list[ProjectAnswer]


class Settings(BaseModel):
    """Any JSON object."""

    model_config = ConfigDict(extra="allow")


class RoleAnswer(Answer):
    role: RoleName


class NewMember(BaseModel):
    """The user by id, or by e-mail address."""

    user_id: Name | None = None
    email: Email | None = None
    role: RoleName = "member"


class RoleChange(BaseModel):
    role: RoleName


class UserAnswer(Answer):
    id: str
    email: str
    first_name: str
    last_name: str
    role: str | None = None


class UserList(ListAnswer):
    users: list[UserAnswer]


class NewUser(BaseModel):
    email: Email
    first_name: Note = ""
    last_name: Note = ""


class ProfileChange(BaseModel):
    first_name: Note
    last_name: Note


class NewUserToken(BaseModel):
    name: Note = ""
    days: Annotated[float, Field(gt=0, le=36500, allow_inf_nan=False)] | None = None


class UserTokenAnswer(Answer):
    id: str
    name: str
    created_at: datetime
    expires_at: datetime | None = None
    token: str | None = Field(default=None, description="Only in the answer that creates it.")


class UserTokenList(Answer):
    tokens: list[UserTokenAnswer]


# Keys, secrets, webhooks, services


class NewApiKey(BaseModel):
    name: Name
    description: Note = ""


class ApiKeyAnswer(Answer):
    id: str
    name: str
    description: str
    created_by: str | None = None
    created_at: datetime


class NewApiKeyAnswer(ApiKeyAnswer):
    token: str = Field(description="The secret that signs participant tokens.")
    api_key: str | None = Field(default=None, description="Key and secret in one line, for MESHAGENT_API_KEY.")


class ApiKeyList(ListAnswer):
    keys: list[ApiKeyAnswer]
    tokens: list[ApiKeyAnswer] = Field(description="The same list, under its older name.")


class RevealedKey(Answer):
    token: str


class SecretBody(BaseModel):
    name: Name
    type: Literal["docker", "keys"]
    data: dict[str, str]


class SecretAnswer(Answer):
    id: str
    name: str
    type: str
    data: dict[str, str]


class SecretList(ListAnswer):
    secrets: list[SecretAnswer]


class WebhookBody(BaseModel):
    name: Name
    url: Url
    events: Annotated[list[Name], Field(max_length=100)]
    description: Note = ""
    action: Note | None = None
    payload: Any = None
    secret: Note | None = Field(default=None, description="Signs deliveries; absent is the server's webhook secret.")


class WebhookAnswer(Answer):
    id: str
    name: str
    description: str
    url: str
    events: list[str]
    action: str | None = None
    payload: Any = None
    failing_since: datetime | None = Field(default=None, description="The first failed attempt since the last success.")
    disabled_at: datetime | None = Field(default=None, description="Since when nothing is delivered any more.")
    disabled_reason: str | None = None


class WebhookList(ListAnswer):
    webhooks: list[WebhookAnswer]


class DeliveryQuery(PageQuery):
    """Which deliveries."""

    outcome: Outcome | None = Field(default=None, description="Only those with this outcome.")


class DeliveryAnswer(Answer):
    id: str = Field(description="The header Meshagent-Event-Id of the request.")
    event: str
    room_name: str
    data: JsonObject
    outcome: Outcome
    attempts: int
    resends: int = Field(description="How often somebody asked to send it again.")
    status: int | None = Field(default=None, description="HTTP status of the last answer.")
    error: str | None = None
    created_at: datetime
    updated_at: datetime
    next_attempt_at: datetime | None = None

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryAnswer:
        """The public form of a delivery."""
        pending = delivery.outcome in ("waiting", "retrying")
        return cls(
            id=delivery.id,
            event=delivery.event,
            room_name=delivery.room_name,
            data=jsontext.loads(delivery.data),
            outcome=delivery.outcome,
            attempts=delivery.attempts,
            resends=delivery.resends,
            status=delivery.status,
            error=delivery.error,
            created_at=delivery.created_at,
            updated_at=delivery.updated_at,
            next_attempt_at=delivery.due_at if pending else None,
        )


class DeliveryList(ListAnswer):
    deliveries: list[DeliveryAnswer]


class ResentAnswer(Answer):
    resent: int = Field(description="How many events are sent again.")


class ServiceList(ListAnswer):
    services: list[Service]


class MailboxChange(BaseModel):
    room: Name
    queue: Name


class MailboxBody(MailboxChange):
    address: Email


class MailboxAnswer(Answer):
    address: str
    room: str
    queue: str


class MailboxList(ListAnswer):
    mailboxes: list[MailboxAnswer]


# Rooms, grants, tokens, shares


class NewRoom(BaseModel):
    name: Name
    if_not_exists: bool = False


class RoomChange(BaseModel):
    name: Name


class RoomAnswer(Answer):
    id: str
    name: str
    created_at: datetime
    is_active: bool


class RoomList(ListAnswer):
    rooms: list[RoomAnswer]


class ConnectionAnswer(Answer):
    jwt: str
    room_name: str
    project_id: str
    room_url: str


class GrantPermissions(BaseModel):
    permissions: JsonObject | None = Field(default=None, description="An ApiScope; absent is everything.")


class NewRoomGrant(GrantPermissions):
    room_id: Name
    user_id: Name


class RoomGrantAnswer(Answer):
    id: str
    room_id: str
    user_id: str
    permissions: JsonObject | None = None


class RoomGrantList(ListAnswer):
    room_grants: list[RoomGrantAnswer]


class NewParticipantToken(BaseModel):
    room_name: Name
    name: Name | None = None
    role: Name | None = None
    api: JsonObject | None = Field(default=None, description="An ApiScope; absent is everything.")


class TokenAnswer(Answer):
    token: str


class TokenToCheck(BaseModel):
    token: str


class CheckedToken(Answer):
    valid: bool
    reason: str | None = None
    name: str | None = None
    role: str | None = None
    project_id: str | None = None
    rooms: list[str] = []


class ShareSettings(BaseModel):
    """The room that a share leads to, and name and role there; other members are stored for programs."""

    model_config = ConfigDict(extra="allow")

    room_name: Name | None = None
    participant_name: Name | None = None
    role: Name | None = None
    api: JsonObject | None = Field(default=None, description="An ApiScope; absent is everything.")
    expires_at: datetime | None = None


class ShareBody(BaseModel):
    settings: ShareSettings | None = None


class ShareAnswer(Answer):
    id: str
    settings: JsonObject


class ShareList(ListAnswer):
    shares: list[ShareAnswer]


class ShareConnection(Answer):
    jwt: str
    room_url: str


# Sessions, usage, storage, server


class ParticipantAnswer(Answer):
    id: str
    name: str
    role: str


class SessionAnswer(Answer):
    id: str
    room_name: str
    created_at: datetime
    ended_at: datetime | None = None
    is_active: bool
    participants: int = Field(description="How many have joined.")


class SessionList(ListAnswer):
    sessions: list[SessionAnswer]


class SessionEventAnswer(Answer):
    type: str
    data: JsonObject
    at: datetime


class SessionEventList(ListAnswer):
    events: list[SessionEventAnswer]


class ParticipantList(Answer):
    participants: list[ParticipantAnswer]


class UsageAnswer(Answer):
    usage: list[JsonObject]


class ModelUsageQuery(PageQuery):
    """Which days, both included, and how to group them; the days of the last 30 by default."""

    start: Annotated[date | None, Field(description="First day, YYYY-MM-DD in UTC.")] = None
    end: Annotated[date | None, Field(description="Last day; today by default.")] = None
    by: Annotated[
        str,
        Field(
            pattern=r"^((day|room|participant|model)(,(day|room|participant|model))*)?$",
            description="Groups, with commas between them: day, room, participant, model. Empty: one sum.",
        ),
    ] = "day,model"


class ModelUsageRow(Answer):
    """Sums; `cost` leaves out `unpriced_requests`, and the tokens of `estimated_requests` are estimates."""

    day: str | None = None
    room_name: str | None = None
    key_id: str | None = None
    participant: str | None = None
    model: str | None = None
    requests: int
    estimated_requests: int
    unpriced_requests: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost: float


class ModelUsageAnswer(ListAnswer):
    """`budget` is what the project may use, without the limits that are not set."""

    usage: list[ModelUsageRow]
    today: ModelUsageRow
    month: ModelUsageRow
    budget: dict[str, float]


class PathQuery(BaseModel):
    path: Annotated[str, Field(min_length=1, description="A path in the project's storage.")]


class ServerAnswer(Answer):
    version: str
    domains: JsonObject


class CallerAnswer(Answer):
    kind: Literal["administrator", "user", "key"]
    name: str
    user_id: str | None = None
    project_id: str | None = None
