"""`AgentChatContext`: a conversation with a model."""

from __future__ import annotations

from meshagent.agents.llm.context import AgentChatContext


def test_messages_are_kept_in_order() -> None:
    chat = AgentChatContext()
    chat.append_user_message("What is in a.txt?")
    chat.append_tool_call(call_id="1", name="read", arguments='{"path":"a.txt"}')
    chat.append_tool_result(call_id="1", output="hello")
    chat.append_assistant_message("hello")
    assert chat.messages == [
        {"role": "user", "content": "What is in a.txt?"},
        {"type": "function_call", "call_id": "1", "name": "read", "arguments": '{"path":"a.txt"}'},
        {"type": "function_call_output", "call_id": "1", "output": "hello"},
        {"role": "assistant", "content": "hello"},
    ]


def test_an_image_may_have_a_text() -> None:
    chat = AgentChatContext()
    chat.append_user_image("data:image/png;base64,AA==")
    chat.append_user_image("https://example.org/a.png", "Look")
    image = {"type": "image_url", "url": "data:image/png;base64,AA=="}
    other = {"type": "image_url", "url": "https://example.org/a.png"}
    assert [message["content"] for message in chat.messages] == [[image], [{"type": "text", "text": "Look"}, other]]


def test_rules_are_not_repeated() -> None:
    chat = AgentChatContext(rules=["a"])
    chat.append_rules(["b", "a", "b"])
    assert chat.rules == ["a", "b"]
    assert chat.get_system_instructions() == "a\nb"
    chat.replace_rules([])
    assert chat.get_system_instructions() is None


def test_copies_and_json_are_independent() -> None:
    chat = AgentChatContext(rules=["a"])
    chat.append_user_image("https://example.org/a.png", "Look")
    for copy in (chat.copy(), AgentChatContext.from_json(chat.to_json())):
        assert (copy.messages, copy.rules) == (chat.messages, chat.rules)
        copy.messages[0]["content"][0]["text"] = "changed"
        copy.append_rules(["b"])
    assert chat.messages[0]["content"][0]["text"] == "Look"
    assert chat.rules == ["a"]
