"""The helpers of `meshagent.api`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshagent.api.errors import InvalidRequestError, NotFoundError
from meshagent.api.helpers import (
    deploy_schema,
    meshagent_base_url,
    participant_token,
    validate_schema_name,
    websocket_protocol,
    websocket_room_url,
)
from meshagent.api.tokens.token import ParticipantToken


@pytest.fixture(autouse=True)
def no_key_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("API_URL", "PROJECT_ID", "KEY_ID", "SECRET", "API_KEY"):
        monkeypatch.delenv(f"MESHAGENT_{name}", raising=False)
    monkeypatch.setenv("MESHAGENT_PROFILE", str(tmp_path / "profile.json"))


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PROJECT_ID": "p1", "KEY_ID": "k1", "SECRET": "s"}.items():
        monkeypatch.setenv(f"MESHAGENT_{name}", value)


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h:1", "ws://h:1/rooms/r"),
        ("https://h/", "wss://h/rooms/r"),
        ("HTTPS://h", "wss://h/rooms/r"),
        ("wss://h/prefix/", "wss://h/prefix/rooms/r"),
        ("ws://http.example", "ws://http.example/rooms/r"),
    ],
)
def test_a_room_url_is_a_websocket_url(base: str, url: str) -> None:
    assert websocket_room_url(room_name="r", base_url=base) == url


def test_room_names_are_quoted() -> None:
    assert websocket_room_url(room_name="a b/ü?#", base_url="ws://h") == "ws://h/rooms/a%20b%2F%C3%BC%3F%23"


def test_the_base_is_the_argument_the_variable_or_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert meshagent_base_url() == "http://localhost:8080"
    monkeypatch.setenv("MESHAGENT_API_URL", "https://env/")
    assert meshagent_base_url() == "https://env"
    assert meshagent_base_url("http://given/") == "http://given"
    assert websocket_room_url(room_name="r") == "wss://env/rooms/r"


@pytest.mark.usefixtures("key")
def test_a_helpers_token_names_key_room_and_role() -> None:
    token = participant_token(participant_name="alice", room_name="r", role="agent")
    assert (token.name, token.project_id, token.api_key_id, token.role) == ("alice", "p1", "k1", "agent")
    assert token.allows_room("r")
    assert participant_token(participant_name="alice", room_name="r").grants == token.grants[:1]


def test_without_a_key_the_error_says_how_to_get_one() -> None:
    with pytest.raises(NotFoundError, match="MESHAGENT_SECRET"):
        participant_token(participant_name="alice", room_name="r")


@pytest.mark.usefixtures("key")
async def test_a_helpers_protocol_carries_url_and_a_token_that_keeps_its_key() -> None:
    protocol = websocket_protocol(participant_name="alice", room_name="r", role="tool")
    assert protocol.url == "ws://localhost:8080/rooms/r"
    token = ParticipantToken.from_jwt(protocol.token, secret="s")
    assert (token.api_key_id, token.role) == ("k1", "tool")


@pytest.mark.parametrize("name", ["a.b", "", ".x", "a/b"])
def test_schema_names_are_extensions(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="schema"):
        validate_schema_name(name)


class RecordingRoom:
    """Stands for a joined room whose storage notes what is written."""

    def __init__(self) -> None:
        self.storage = self
        self.files: dict[str, bytes] = {}
        self.closed: list[tuple[str, bool]] = []

    async def open(self, *, path: str, overwrite: bool) -> tuple[str, bool]:
        return path, overwrite

    async def write(self, *, handle: tuple[str, bool], data: bytes) -> None:
        self.files[handle[0]] = self.files.get(handle[0], b"") + data

    async def close(self, *, handle: tuple[str, bool]) -> None:
        self.closed.append(handle)


@pytest.mark.parametrize("overwrite", [True, False])
async def test_a_schema_is_deployed_as_a_file_of_its_name(overwrite: bool) -> None:
    from meshagent.api.documents.schema import ElementType, MeshSchema

    schema = MeshSchema(root_tag_name="note", elements=[ElementType(tag_name="note", properties=[])])
    room: Any = RecordingRoom()
    await deploy_schema(room=room, schema=schema, name="note", overwrite=overwrite)
    assert json.loads(room.files[".schemas/note.json"]) == schema.to_json()
    assert room.closed == [(".schemas/note.json", overwrite)]
