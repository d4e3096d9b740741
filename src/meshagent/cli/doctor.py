"""`meshagent doctor`: diagnose why a room cannot be joined."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import typer

from meshagent.api.visible_text import visible_line
from meshagent.cli.command import runnable
from meshagent.cli.context import RoomTarget, accounts_client, room_session
from meshagent.cli.output import ExitCode, JsonOption, console, exit_code_of, print_json

DEFAULT_ROOM = "doctor"
Verdict = Literal["ok", "warning", "failed", "skipped"]
_SIGNS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "failed": "[red]✗[/]", "skipped": "[dim]-[/]"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `advice` says how to fix a problem."""

    check: str
    verdict: Verdict
    detail: str
    advice: str = ""


async def _doctor(target: RoomTarget, as_json: JsonOption = False) -> None:
    """Check the installation, profile, API key, server and a room, and suggest fixes.

    Joins the room given by --room, or `doctor`. Exit code 1 if a check fails.
    """
    findings = []
    async for finding in examine(target):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.verdict == "failed" for finding in findings):
        raise typer.Exit(ExitCode.FAILED)


doctor = runnable(_doctor)


async def examine(target: RoomTarget) -> AsyncIterator[Finding]:
    """Yield the findings. Checks that depend on a failed one are skipped."""
    from meshagent.api.errors import RoomException
    from meshagent.api.helpers import meshagent_base_url

    yield _installation()
    yield _profile()
    key = _key()
    yield key
    try:
        server = await _server(meshagent_base_url(target.api_url))
    except RoomException:  # the profile, which contains the URL, cannot be read
        server = Finding("server", "skipped", "unknown URL")
    yield server
    if server.verdict in ("failed", "skipped"):
        yield Finding("accounts", "skipped", "no server")
        yield Finding("room", "skipped", "no server")
        return
    yield await _accounts(target)
    if key.verdict == "failed" and target.token_path is None and not os.environ.get("MESHAGENT_TOKEN"):
        yield Finding("room", "skipped", "no API key to sign a token with")
    else:
        yield await _room(target)


def _installation() -> Finding:
    from importlib.util import find_spec

    from meshagent.api.version import __version__

    parts = [name for name, module in (("server", "sqlalchemy"), ("agents", "openai")) if find_spec(module)]
    python = ".".join(map(str, sys.version_info[:3]))
    extras = f" with {', '.join(parts)}" if parts else ", without server or agents"
    return Finding("installation", "ok", f"openmeshagent {__version__}{extras}, Python {python}")


def _profile() -> Finding:
    from meshagent.api.errors import RoomException
    from meshagent.api.profile import load_profile, profile_path

    path = profile_path()
    try:
        load_profile(path)
    except RoomException as error:
        return Finding("profile", "failed", str(error), f"fix or delete {path}")
    if not path.exists():
        return Finding("profile", "ok", f"no profile at {path}; using environment variables only")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Finding("profile", "warning", f"{path} is readable by other users", f"run `chmod 600 {path}`")
    return Finding("profile", "ok", str(path))


def _key() -> Finding:
    from meshagent.api.errors import RoomException
    from meshagent.api.profile import find_credentials

    try:
        key = find_credentials()
    except RoomException as error:
        return Finding("key", "failed", str(error), "run `meshagent setup`")
    return Finding("key", "ok", f"key {key.key_id or '(the default secret)'} of project {key.project_id}")


async def _server(url: str) -> Finding:
    import aiohttp

    from meshagent.api.version import __version__

    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            async with session.get(f"{url}/") as answer:
                greeting = await answer.json(content_type=None)
            async with session.get(f"{url}/healthz") as answer:
                health = await answer.json(content_type=None) if answer.status in (200, 503) else {"ok": True}
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        return Finding(
            "server", "failed", f"{url} cannot be reached: {reason}", "run `meshagent serve`, or set MESHAGENT_API_URL"
        )
    version = greeting.get("version") if isinstance(greeting, dict) else None
    if not health.get("ok"):
        return Finding("server", "failed", f"{url} is unhealthy: {_unhealthy(health)}", "check the server's log")
    if version is None:
        return Finding("server", "warning", f"{url} is not an openmeshagent server", "check the URL")
    if version != __version__:
        return Finding(
            "server", "warning", f"{url} has version {version}, this is {__version__}", "upgrade the older one"
        )
    return Finding("server", "ok", f"{url}, version {version}")


def _unhealthy(health: dict[str, Any]) -> str:
    parts = health.get("components", {})
    found = [f"{name} ({part.get('last_error')})" for name, part in parts.items() if not part.get("healthy")]
    return ", ".join(found) or "unknown"


async def _accounts(target: RoomTarget) -> Finding:
    try:
        async with accounts_client(target.api_url) as accounts:
            identity = await accounts.whoami()
    except Exception as error:
        if exit_code_of(error) is None:
            raise
        reason = getattr(error, "message", "") or str(error)
        return Finding(
            "accounts",
            "warning",
            f"no access to the REST API: {reason}",
            "run `meshagent auth login` to manage projects and keys",
        )
    who = " ".join(dict.fromkeys(filter(None, (identity["kind"], identity["name"]))))
    return Finding("accounts", "ok", f"logged in as {who}")


async def _room(target: RoomTarget) -> Finding:
    from dataclasses import replace

    from meshagent.cli.context import ready_token

    wanted = target if target.room or ready_token(target) else replace(target, room=DEFAULT_ROOM)
    started = time.perf_counter()
    try:
        async with room_session(wanted) as room:
            joined = time.perf_counter()
            await room.storage.exists("")
            answered = time.perf_counter()
            name = room.room_name
    except Exception as error:
        if exit_code_of(error) is None:
            raise
        advice = (
            "the API key does not belong to this server: run `meshagent setup`"
            if exit_code_of(error) == ExitCode.NOT_ALLOWED
            else ""
        )
        return Finding("room", "failed", f"cannot join: {error}", advice)
    times = f"{(joined - started) * 1000:.0f} ms to join, {(answered - joined) * 1000:.1f} ms per request"
    return Finding("room", "ok", f"joined {name}: {times}")


def _print(finding: Finding) -> None:
    from rich.markup import escape

    terminal = console()
    terminal.print(f"{_SIGNS[finding.verdict]} [bold]{finding.check:<13}[/] {escape(visible_line(finding.detail))}")
    if finding.advice:
        terminal.print(f"                [dim]{escape(visible_line(finding.advice))}[/]")
