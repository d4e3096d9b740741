"""Chat messages as they travel."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.agents.chat.protocol import ChatMessage, ToolkitChoice, is_addressed_to, thread_path
from meshagent.api.errors import InvalidRequestError
from tests.support.hypothesis_profiles import examples

texts = st.text(max_size=9)
choices = st.builds(ToolkitChoice, texts, st.none() | st.lists(texts, max_size=2).map(tuple))
messages = st.builds(
    ChatMessage,
    path=texts.map(lambda name: f"{name}.thread".strip("/")),
    text=texts,
    attachments=st.lists(texts, max_size=2).map(tuple),
    toolkits=st.lists(choices, max_size=2).map(tuple),
)


@given(messages)
@settings(max_examples=examples(50))
def test_a_message_survives_its_travel(message: ChatMessage) -> None:
    assert ChatMessage.from_json(message.to_json()) == message


def test_messages_of_all_user_interfaces_are_read() -> None:
    assert ChatMessage.from_json({"path": "a.thread", "text": "hi", "attachments": []}).text == "hi"
    full = ChatMessage.from_json(
        {
            "path": ".threads/a.thread",
            "text": None,
            "attachments": [{"path": "f.txt"}],
            "toolkits": [{"toolkit": "math", "tools": None}, {"toolkit": "ui", "tools": ["ask_user"]}],
        }
    )
    assert full.attachments == ("f.txt",)
    assert full.toolkits == (ToolkitChoice("math"), ToolkitChoice("ui", ("ask_user",)))


@pytest.mark.parametrize(
    "message",
    [
        None,
        "text",
        {},
        {"path": 1},
        {"path": "notes.document"},
        {"path": "a.thread", "text": 1},
        {"path": "a.thread", "attachments": [{}]},
        {"path": "a.thread", "attachments": 7},
        {"path": "a.thread", "toolkits": ["math"]},
        {"path": "a.thread", "toolkits": [{"toolkit": "math", "tools": 7}]},
    ],
)
def test_what_is_no_chat_message_is_refused(message: object) -> None:
    with pytest.raises(InvalidRequestError):
        ChatMessage.from_json(message)


def test_a_path_has_no_outer_slashes() -> None:
    assert thread_path({"path": "/folder/a.thread"}) == "folder/a.thread"


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("hello", True),
        ("@ann hello", True),
        ("@ANN and @ben", True),
        ("ask @ben", False),
        ("@ben-jamin is not ben", True),
        ("mail me at x@ben", True),
    ],
)
def test_a_mention_is_an_address(text: str, answers: bool) -> None:
    assert is_addressed_to(text, "ann", ["ben"]) is answers
