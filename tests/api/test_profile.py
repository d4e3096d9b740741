"""The profile file, and where server and key come from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from meshagent.api.errors import InvalidRequestError, NotFoundError
from meshagent.api.profile import (
    DEFAULT_API_URL,
    Profile,
    api_base_url,
    find_credentials,
    load_profile,
    profile_path,
    save_profile,
    write_private,
)
from meshagent.api.tokens import ApiKey

PROJECT, KEY = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
FULL = Profile(api_url="http://profile:1/", project_id="p", key_id="k", secret="profile-secret", admin_token="t")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"MESHAGENT_PROFILE": str(tmp_path / "deep" / "profile.json")}


def test_a_profile_is_kept_for_its_owner_only(environ: dict[str, str]) -> None:
    path = save_profile(FULL, profile_path(environ))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert load_profile(path) == FULL
    assert "profile-secret" not in repr(FULL)


def test_no_file_is_an_empty_profile_and_unknown_members_are_ignored(environ: dict[str, str]) -> None:
    path = profile_path(environ)
    assert load_profile(path) == Profile()
    save_profile(Profile(api_url="x"), path)
    assert json.loads(path.read_text()) == {"api_url": "x"}
    path.write_text(json.dumps({"api_url": "x", "future": {"a": 1}}))
    assert load_profile(path) == Profile(api_url="x")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"api_url": 1}'])
def test_a_damaged_profile_is_named(environ: dict[str, str], text: str) -> None:
    path = profile_path(environ)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InvalidRequestError, match=r"profile\.json"):
        load_profile(path)


def test_the_profile_is_in_the_home_folder_unless_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert profile_path({}) == tmp_path / ".meshagent" / "profile.json"
    assert profile_path({"MESHAGENT_PROFILE": "~/p.json"}) == tmp_path / "p.json"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_private(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_private(path, "new")
    assert [item.name for item in tmp_path.iterdir()] == ["f"]
    assert path.read_text() == "old"


def test_the_base_url_is_the_environments_the_profiles_or_this_machines(environ: dict[str, str]) -> None:
    assert api_base_url(environ) == DEFAULT_API_URL == "http://localhost:8080"
    save_profile(FULL, profile_path(environ))
    assert api_base_url(environ) == "http://profile:1"
    assert api_base_url(environ | {"MESHAGENT_API_URL": "https://env/"}) == "https://env"


def test_credentials_come_whole_from_the_first_source_that_has_a_secret(environ: dict[str, str]) -> None:
    with pytest.raises(NotFoundError, match="meshagent serve"):
        find_credentials(environ)
    save_profile(FULL, profile_path(environ))
    assert find_credentials(environ).secret == "profile-secret"
    compact = environ | {"MESHAGENT_API_KEY": ApiKey(project_id=PROJECT, key_id=KEY, secret="a-b").encode()}
    found = find_credentials(compact)
    assert (found.project_id, found.key_id, found.secret) == (PROJECT, KEY, "a-b")
    found = find_credentials(compact | {"MESHAGENT_SECRET": "s", "MESHAGENT_PROJECT_ID": "q"})
    assert (found.project_id, found.key_id, found.secret) == ("q", None, "s")  # never another source's key id


def test_ids_that_contradict_the_secrets_source_are_an_error(environ: dict[str, str]) -> None:
    save_profile(FULL, profile_path(environ))
    assert find_credentials(environ | {"MESHAGENT_PROJECT_ID": "p"}).key_id == "k"
    with pytest.raises(InvalidRequestError, match="set MESHAGENT_SECRET as well"):
        find_credentials(environ | {"MESHAGENT_KEY_ID": "other"})
