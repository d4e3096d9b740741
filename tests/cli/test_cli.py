"""The command line: what each command prints, and how mistakes are told."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from meshagent.api.profile import Profile, load_profile, save_profile
from meshagent.api.tokens import ApiKey
from meshagent.api.version import __version__
from meshagent.cli import main
from meshagent.cli import serve as serve_module
from meshagent.cli.app import app
from meshagent.cli.serve import FIRST_PROGRAM, ServeError, announce
from meshagent.server.config import ServerConfig
from meshagent.server.config_sources import load_config
from meshagent.server.identity import IdentityError, ServerIdentity, load_identity

PROJECT, KEY = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


@pytest.fixture(autouse=True)
def profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("API_URL", "PROJECT_ID", "KEY_ID", "SECRET", "API_KEY", "CONFIG"):
        monkeypatch.delenv(f"MESHAGENT_{name}", raising=False)
    path = tmp_path / "profile.json"
    monkeypatch.setenv("MESHAGENT_PROFILE", str(path))
    return path


@dataclass
class Started:
    port: int
    identity: ServerIdentity


def announced(config: ServerConfig) -> str:
    output = io.StringIO()
    announce(Started(5, load_identity(config)), config, Console(file=output, highlight=False))
    return output.getvalue()


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_version_as_a_command_and_as_a_module() -> None:
    assert run("version").strip() == __version__
    completed = subprocess.run(
        [sys.executable, "-m", "meshagent.cli", "version"], capture_output=True, text=True, check=True
    )
    assert completed.stdout.strip() == __version__


def test_env_prints_what_a_shell_can_evaluate(profile: Path) -> None:
    save_profile(Profile(api_url="http://h:1", project_id=PROJECT, key_id=KEY, secret="it's; secret"), profile)
    compact = ApiKey(project_id=PROJECT, key_id=KEY, secret="it's; secret").encode()
    script = run("env") + 'printf "%s\\n" "$MESHAGENT_API_URL" "$MESHAGENT_SECRET" "$MESHAGENT_API_KEY"'
    completed = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert completed.stdout.splitlines() == ["http://h:1", "it's; secret", compact]
    assert json.loads(run("env", "--format", "json"))["MESHAGENT_KEY_ID"] == KEY


def test_env_leaves_out_what_there_is_not(profile: Path) -> None:
    save_profile(Profile(project_id="your-project-id", key_id="k", secret="s"), profile)
    assert json.loads(run("env", "--format", "json")) == {
        "MESHAGENT_API_URL": "http://localhost:8080",
        "MESHAGENT_PROJECT_ID": "your-project-id",
        "MESHAGENT_KEY_ID": "k",
        "MESHAGENT_SECRET": "s",
    }


def test_a_failure_is_one_line_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["meshagent", "env"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: no key to sign tokens with")
    assert "Traceback" not in captured.err


def test_the_secret_is_shown_at_the_first_start_only(tmp_path: Path, profile: Path) -> None:
    config = load_config(flags={"data_dir": tmp_path / "data"})
    first, second = announced(config), announced(config)
    saved = load_profile(profile)
    for secret in (saved.secret, saved.admin_token):
        assert secret is not None
        assert secret in first
        assert secret not in second
    for text in (first, second):
        assert all(str(part) in text for part in ("http://127.0.0.1:5", saved.project_id, saved.key_id, profile))
    assert saved.api_url == "http://127.0.0.1:5"


def test_a_given_secret_is_never_shown_and_no_profile_written(tmp_path: Path, profile: Path) -> None:
    config = load_config(
        flags={"data_dir": tmp_path / "data", "public_url": "https://rooms.example.com"},
        environ={"MESHAGENT_PROJECT_ID": "p[bold]", "MESHAGENT_KEY_ID": "k", "MESHAGENT_SECRET": "hunter2"},
    )
    text = announced(config)
    assert "hunter2" not in text
    assert "p[bold]" in text
    assert "https://rooms.example.com" in text
    assert not profile.exists()


def test_the_program_that_it_proposes_is_python() -> None:
    compile(FIRST_PROGRAM, "first program", "exec")


class InUse(Exception):
    """Stands for the server's own class."""


def fake_server(run_server: Callable[[ServerConfig, object], object]) -> SimpleNamespace:
    return SimpleNamespace(run_server=run_server, DataFolderInUseError=InUse)


@pytest.fixture
def server_module(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Replaces the server by something that does not listen."""

    def use(module: object) -> None:
        def import_it(name: str) -> object:
            if isinstance(module, Exception):
                raise module
            return module

        monkeypatch.setattr(serve_module, "import_module", import_it)

    return use


def test_serve_hands_flags_file_and_environment_to_the_server(
    server_module: Callable[[object], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ServerConfig] = []
    server_module(fake_server(lambda config, beside: seen.append(config)))
    file = tmp_path / "server.toml"
    file.write_text("shutdown_grace = 1.5\nport = 1\n")
    monkeypatch.setenv("MESHAGENT_SERVER_IDLE_GRACE", "2.5")
    run("serve", "--port", "0", "--data", str(tmp_path), "--config", str(file), "--set", "limits.max_file_bytes=7")
    config = seen[0]
    assert (config.port, config.data_dir, config.limits.max_file_bytes) == (0, tmp_path, 7)
    assert (config.idle_grace, config.shutdown_grace) == (2.5, 1.5)


def test_a_wrong_setting_stops_the_start_with_its_name(server_module: Callable[[object], None]) -> None:
    server_module(fake_server(lambda config, beside: pytest.fail("it started")))
    with pytest.raises(ServeError, match=r"'port' \(from flag --port\)"):
        run("serve", "--port", "-1")


@pytest.mark.parametrize("error", [OSError(98, "in use"), InUse("in use"), IdentityError("in use")])
def test_what_keeps_it_from_starting_is_told_in_words(
    server_module: Callable[[object], None], error: Exception
) -> None:
    def run_server(config: ServerConfig, beside: object) -> None:
        raise error

    server_module(fake_server(run_server))
    with pytest.raises(ServeError, match=r"cannot start the server: .*in use"):
        run("serve")


def test_what_fails_later_keeps_its_traceback(server_module: Callable[[object], None], tmp_path: Path) -> None:
    async def serve(beside: Callable[[Started], AbstractAsyncContextManager[None]], config: ServerConfig) -> None:
        async with beside(Started(5, load_identity(config))):
            raise OSError("disk gone")

    def run_server(config: ServerConfig, beside: Callable[[Started], AbstractAsyncContextManager[None]]) -> None:
        asyncio.run(serve(beside, config))

    server_module(fake_server(run_server))  # type: ignore[arg-type]  # one that calls back
    with pytest.raises(OSError, match="disk gone"):
        run("serve", "--data", str(tmp_path))


def test_without_the_servers_parts_it_says_how_to_get_them(server_module: Callable[[object], None]) -> None:
    server_module(ModuleNotFoundError("No module named 'uvloop'", name="uvloop"))
    with pytest.raises(ServeError, match=r"openmeshagent\[server\]"):
        run("serve")
