"""What a verified token says about who enters a room."""

from __future__ import annotations

from dataclasses import dataclass

from meshagent.api.tokens.scope import ApiScope
from meshagent.api.tokens.token import ParticipantToken


@dataclass(frozen=True, slots=True)
class Admission:
    """What the gateway learned from a token that it accepted."""

    project_id: str
    key_id: str | None
    name: str
    role: str
    scope: ApiScope
    token: ParticipantToken
