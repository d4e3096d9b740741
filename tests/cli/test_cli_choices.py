"""Choosing an entry by id, name or prompt, and saving a key in the profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshagent.api.profile import load_profile
from meshagent.cli.output import CommandError, ExitCode, UsageError
from meshagent.cli.profile_choice import choose, save_key

ENTRIES = [{"id": "1", "name": "one"}, {"id": "2", "name": "two"}, {"id": "3", "name": "two"}, {"id": "one"}]


@pytest.mark.parametrize(("wanted", "entry_id"), [("2", "2"), ("one", "one")], ids=["id", "id before name"])
def test_ids_are_found_before_names(wanted: str, entry_id: str) -> None:
    assert choose(ENTRIES, wanted, "key")["id"] == entry_id


def test_a_name_is_found() -> None:
    assert choose(ENTRIES[:2], "two", "key")["id"] == "2"


def test_an_ambiguous_name_is_an_error() -> None:
    with pytest.raises(CommandError, match="2 keys are named 'two': use the id"):
        choose(ENTRIES, "two", "key")


@pytest.mark.parametrize("wanted", ["four", None])
def test_what_does_not_exist_is_not_found(wanted: str | None) -> None:
    with pytest.raises(CommandError) as caught:
        choose([] if wanted is None else ENTRIES, wanted, "key")
    assert caught.value.code is ExitCode.NOT_FOUND


def test_the_only_entry_needs_no_choice() -> None:
    assert choose(ENTRIES[:1], None, "key")["id"] == "1"


def test_several_entries_need_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(UsageError, match="there are 4 keys: give an id or name"):
        choose(ENTRIES, None, "key")


def test_the_user_chooses_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    picks = iter([0, 9, 3])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(picks))
    assert choose(ENTRIES, None, "key")["id"] == "3"


def test_a_saved_key_warns_of_variables_that_override_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MESHAGENT_PROFILE", str(tmp_path / "profile.json"))
    monkeypatch.delenv("MESHAGENT_API_KEY", raising=False)
    monkeypatch.delenv("MESHAGENT_SECRET", raising=False)
    save_key("p", "k", "s", "http://localhost:1")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("MESHAGENT_SECRET", "other")
    save_key("p", "k2", "s", "http://localhost:1")
    assert "MESHAGENT_SECRET is set and overrides the profile" in capsys.readouterr().err
    profile = load_profile()
    assert (profile.project_id, profile.key_id, profile.secret) == ("p", "k2", "s")
