"""Scopes: their JSON form, and what each check lets through (protocol 4.4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from meshagent.api.errors import InvalidRequestError, PermissionDeniedError
from meshagent.api.tokens import FULL_ROOM_SCOPE, NO_SCOPE
from meshagent.api.tokens.grants import StorageGrant, StoragePathGrant
from meshagent.api.tokens.scope import ApiScope

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "tokens.md"
CHECKS: dict[str, Callable[[ApiScope], None]] = {
    "messaging": lambda scope: scope.require_messaging("send"),
    "storage": lambda scope: scope.require_storage_read("a"),
    "sync": lambda scope: scope.require_sync("a", write=True),
    "queues": lambda scope: scope.require_queue_send("q"),
    "dataset": lambda scope: scope.require_table("t", "alter"),
    "agents": lambda scope: scope.require_agents("use_tools"),
    "developer": lambda scope: scope.require_developer_logs(),
    "livekit": lambda scope: scope.require_livekit("side"),
    "llm": lambda scope: scope.require_llm("m"),
    "secrets": lambda scope: scope.require_section("secrets"),
    "admin": lambda scope: scope.require_section("admin"),
}


def allows(check: Callable[..., None], *arguments: Any, **options: Any) -> bool:
    try:
        check(*arguments, **options)
    except PermissionDeniedError:
        return False
    return True


@pytest.mark.parametrize("section", CHECKS)
def test_an_absent_section_denies_and_an_empty_one_allows(section: str) -> None:
    CHECKS[section](ApiScope.from_json({section: {}}))
    CHECKS[section](ApiScope.full())
    with pytest.raises(PermissionDeniedError, match="your token does not allow you to"):
        CHECKS[section](NO_SCOPE)
    everything_else: dict[str, Any] = {name: {} for name in CHECKS if name != section}
    with pytest.raises(PermissionDeniedError):
        CHECKS[section](ApiScope.from_json(everything_else))


def test_ready_made_scopes_differ_in_administration_tunnels_and_models() -> None:
    def sections(scope: ApiScope) -> set[str]:
        return set(scope.to_json())

    full, agent, user = sections(ApiScope.full()), sections(ApiScope.agent_default()), sections(ApiScope.user_default())
    assert full - agent == {"admin", "tunnels"}
    assert agent - user == {"llm"}
    assert sections(FULL_ROOM_SCOPE) == full - {"admin"}
    assert sections(ApiScope.agent_default(tunnels=True)) == agent | {"tunnels"}


def test_defaults_are_left_out_and_unknown_members_kept() -> None:
    data = {
        "storage": {},
        "queues": {"send": ["a"], "future": 1},
        "sync": {"paths": [{"path": "x/*", "read_only": True}]},
        "tomorrow": {"yes": [1]},
    }
    assert ApiScope.from_json(data).to_json() == data
    assert ApiScope.from_json({"storage": {"paths": None}, "messaging": {"send": True}}).to_json() == {
        "storage": {},
        "messaging": {},
    }


@pytest.mark.parametrize("name", ["dataset", "datasets", "database"])
def test_the_dataset_section_is_read_under_its_older_names(name: str) -> None:
    scope = ApiScope.from_json({name: {"tables": [{"name": "t"}]}})
    assert scope.to_json() == {"dataset": {"tables": [{"name": "t"}]}}
    assert allows(scope.require_table, "t", "read")
    assert not allows(scope.require_table, "t", "write")


@pytest.mark.parametrize("data", ["all", ["storage"], None, {"storage": True}, {"queues": {"send": "q"}}])
def test_a_scope_that_cannot_be_read_is_an_error_that_says_where(data: Any) -> None:
    with pytest.raises(InvalidRequestError, match="'api"):
        ApiScope.from_json(data)


def test_sections_can_be_replaced_but_not_changed_and_shared_scopes_neither() -> None:
    scope = ApiScope.agent_default()
    scope.storage = StorageGrant(paths=[StoragePathGrant(path="notes")])
    assert not allows(scope.require_storage_read, "other")
    with pytest.raises(ValidationError):
        setattr(FULL_ROOM_SCOPE, "storage", None)  # noqa: B010 - the type checker would refuse the plain form
    with pytest.raises(ValidationError):
        setattr(FULL_ROOM_SCOPE.storage, "paths", [])  # noqa: B010
    assert ApiScope.room_default() is not ApiScope.room_default()


def test_messaging_switches() -> None:
    scope = ApiScope.from_json({"messaging": {"broadcast": False}})
    assert allows(scope.require_messaging, "send")
    assert allows(scope.require_messaging, "list")
    assert not allows(scope.require_messaging, "broadcast")


def test_queue_names() -> None:
    scope = ApiScope.from_json({"queues": {"send": ["jobs"], "receive": [], "list": False}})
    assert allows(scope.require_queue_send, "jobs")
    assert not allows(scope.require_queue_send, "job")
    assert not allows(scope.require_queue_receive, "jobs")
    assert not allows(scope.require_queue_list)


def test_table_rules() -> None:
    rules = [{"name": "a", "write": True}, {"name": "b", "read": False, "alter": True}, {"name": "a", "alter": True}]
    scope = ApiScope.from_json({"dataset": {"tables": rules, "list_tables": False}})
    granted = [(t, x) for t in "abc" for x in ("read", "write", "alter") if allows(scope.require_table, t, x)]
    assert granted == [("a", "read"), ("a", "write"), ("b", "alter")]
    assert not allows(scope.require_table_list)


@pytest.mark.parametrize(
    ("path", "read", "write"),
    [
        ("docs/a", True, True),
        ("/docs/a", True, True),
        ("docs/ro/a", True, True),  # what any rule allows is allowed
        ("docs", False, False),
        ("docs/../x", False, False),
        ("docs/./a", False, False),
        ("shown/x", True, False),
        ("one.thread", True, True),
        ("one.thread2", False, False),
    ],
)
def test_document_rules_with_a_trailing_star(path: str, read: bool, write: bool) -> None:
    rules = [
        {"path": "docs/*"},
        {"path": "docs/ro/*", "read_only": True},
        {"path": "shown/*", "read_only": True},
        {"path": "/one.thread"},
    ]
    scope = ApiScope.from_json({"sync": {"paths": rules}})
    assert (allows(scope.require_sync, path, write=False), allows(scope.require_sync, path, write=True)) == (
        read,
        write,
    )
    assert scope.can_write_document(path) is write


@pytest.mark.parametrize(
    ("path", "read", "write"),
    [
        ("pub/a/b", True, False),
        ("pub", True, False),
        ("pub2/a", False, False),
        ("pub/drop/a", True, False),  # the first matching rule decides
        ("plans/a", True, True),
        ("/plans/", True, True),
        ("plans/../secret", False, False),
        ("plans\\..\\secret", False, False),
        ("", False, False),
        ("secret", False, False),
    ],
)
def test_storage_rules_are_folders_in_order(path: str, read: bool, write: bool) -> None:
    rules = [{"path": "/pub/", "read_only": True}, {"path": "pub/drop"}, {"path": "plans"}]
    scope = ApiScope.from_json({"storage": {"paths": rules}})
    assert (allows(scope.require_storage_read, path), allows(scope.require_storage_write, path)) == (read, write)
    assert allows(scope.require_storage, path, "delete") is write
    assert allows(scope.require_storage, path, "presign") is read


def test_an_empty_folder_rule_covers_the_room() -> None:
    scope = ApiScope.from_json({"storage": {"paths": [{"path": "/", "read_only": True}]}})
    assert allows(scope.require_storage, "", "list")
    assert allows(scope.require_storage_read, "any/thing")
    assert not allows(scope.require_storage_write, "any/thing")


def test_file_rules_name_their_actions_and_come_first() -> None:
    files = [{"path": "in", "actions": ["write", "list"]}, {"path": "out"}]
    scope = ApiScope.from_json({"storage": {"files": files, "paths": [{"path": "other"}]}})
    assert [a for a in ("list", "read", "write", "delete", "presign") if allows(scope.require_storage, "in/a", a)] == [
        "list",
        "write",
    ]
    assert allows(scope.require_storage, "out/a", "presign")
    assert not allows(scope.require_storage_read, "other/a")


def test_agents_switches_and_their_words() -> None:
    scope = ApiScope.from_json({"agents": {"register_public_toolkit": False}})
    scope.require_agents("register_private_toolkit")
    with pytest.raises(PermissionDeniedError, match="register public toolkits"):
        scope.require_agents("register_public_toolkit")


def test_breakout_rooms_models_and_logs() -> None:
    scope = ApiScope.from_json(
        {"livekit": {"breakout_rooms": ["a"]}, "llm": {"models": ["small"]}, "developer": {"logs": False}}
    )
    assert allows(scope.require_livekit)
    assert allows(scope.require_livekit, "a")
    assert not allows(scope.require_livekit, "b")
    assert allows(scope.require_llm, "small")
    assert not allows(scope.require_llm, "large")
    assert allows(scope.require_developer)
    assert not allows(scope.require_developer_logs)


def test_the_reference_names_every_section_and_member() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    for name, field in ApiScope.model_fields.items():
        line = next((line for line in text.splitlines() if line.startswith("| ") and f"`{name}`" in line), "")
        assert line, f"docs/reference/tokens.md lacks the section {name}"
        for member in get_args(field.annotation)[0].model_fields:
            assert f"`{member}`" in text, f"docs/reference/tokens.md lacks {name}.{member}"


def test_the_references_example_runs() -> None:
    program = REFERENCE.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(program, names)
    scope = names["token"].get_api_grant()
    assert allows(scope.require_queue_send, "imported")
    assert not allows(scope.require_storage_write, "reports/a")
