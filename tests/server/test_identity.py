"""First start: what is made, what is kept, what is given, and who may read it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from meshagent.api.profile import load_profile
from meshagent.server.config import ServerConfig
from meshagent.server.config_sources import load_config
from meshagent.server.identity import IdentityError, load_identity, publish_profile


def config_for(folder: Path, **environ: str) -> ServerConfig:
    return load_config(flags={"data_dir": folder / "data"}, environ=environ)


def test_the_first_start_makes_a_key_and_later_ones_keep_it(tmp_path: Path) -> None:
    first = load_identity(config_for(tmp_path))
    assert first.is_new
    assert str(uuid.UUID(first.project_id)) == first.project_id != first.key_id
    assert len(first.secret) >= 43
    again = load_identity(config_for(tmp_path))
    assert not again.is_new
    assert (again.project_id, again.key_id, again.secret) == (first.project_id, first.key_id, first.secret)
    assert (again.admin_token, again.encryption_key) == (first.admin_token, first.encryption_key)
    assert load_identity(config_for(tmp_path / "other")).secret != first.secret


def test_what_is_kept_is_for_the_owner_only_and_out_of_texts(tmp_path: Path) -> None:
    identity = load_identity(config_for(tmp_path))
    assert (tmp_path / "data" / "server.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
    for secret in (identity.secret, identity.admin_token, identity.encryption_key):
        assert secret not in repr(identity)


def test_given_keys_are_used_and_never_written(tmp_path: Path) -> None:
    given = {"MESHAGENT_PROJECT_ID": "your-project-id", "MESHAGENT_KEY_ID": "k", "MESHAGENT_SECRET": "hunter2"}
    identity = load_identity(config_for(tmp_path, **given))
    assert (identity.project_id, identity.key_id, identity.secret) == ("your-project-id", "k", "hunter2")
    assert identity.is_configured
    assert not identity.is_new
    assert "hunter2" not in (tmp_path / "data" / "server.json").read_text()
    assert publish_profile(identity, "http://localhost:1", tmp_path / "profile.json") is None
    assert not (tmp_path / "profile.json").exists()
    assert load_identity(config_for(tmp_path)).is_new  # without them the server needs a key of its own


def test_a_damaged_file_stops_the_start_and_is_left_alone(tmp_path: Path) -> None:
    load_identity(config_for(tmp_path))
    path = tmp_path / "data" / "server.json"
    for text in ("{", "[]", json.dumps({"secret": ""})):
        path.write_text(text)
        with pytest.raises(IdentityError, match=r"server\.json"):
            load_identity(config_for(tmp_path))
        assert path.read_text() == text


def test_the_profile_tells_this_users_programs_about_the_server(tmp_path: Path) -> None:
    identity = load_identity(config_for(tmp_path))
    path = publish_profile(identity, "http://localhost:4567", tmp_path / "home" / "profile.json")
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    profile = load_profile(path)
    assert (profile.api_url, profile.secret) == ("http://localhost:4567", identity.secret)
    assert profile.admin_token == identity.admin_token
