"""Where a webhook receiver has its secret from when nobody gives it one."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshagent.api import WebhookServer


def secret_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **environment: str) -> str | None:
    for name in ("MESHAGENT_WEBHOOK_SECRET", "MESHAGENT_SECRET", "MESHAGENT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MESHAGENT_PROFILE", str(tmp_path / "none.json"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return WebhookServer().webhook_secret


def test_its_own_variable_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    both = {"MESHAGENT_WEBHOOK_SECRET": "hooks", "MESHAGENT_SECRET": "tokens"}
    assert secret_with(monkeypatch, tmp_path, **both) == "hooks"


def test_else_it_is_what_the_server_signs_with_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert secret_with(monkeypatch, tmp_path, MESHAGENT_SECRET="tokens") == "tokens"


def test_without_any_there_is_none_and_everything_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert secret_with(monkeypatch, tmp_path) is None
