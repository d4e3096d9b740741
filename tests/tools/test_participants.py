"""Looking up participants by id."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from meshagent.api.room.participants import RemoteParticipant
from meshagent.tools.participants import find_participant


def room(*others: RemoteParticipant) -> Any:
    local = RemoteParticipant(id="me")
    return SimpleNamespace(local_participant=local, messaging=SimpleNamespace(remote_participants=list(others)))


def test_the_local_participant_and_others_are_found() -> None:
    ann = RemoteParticipant(id="ann")
    joined = room(RemoteParticipant(id="bob"), ann)
    assert find_participant(joined, "ann") is ann
    assert find_participant(joined, "me") is joined.local_participant


def test_a_participant_without_messaging_has_only_its_id() -> None:
    found = find_participant(room(), "quiet")
    assert found.id == "quiet"
    assert found.get_attribute("name") is None
