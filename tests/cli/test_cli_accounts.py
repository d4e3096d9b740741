"""Projects, keys, sessions, webhooks, secrets, services and rooms by the command line; setting up and doctoring."""

from __future__ import annotations

import asyncio
import json

import aiohttp

from meshagent.api.profile import Profile, load_profile, save_profile
from meshagent.api.tokens import ApiKey
from tests.support.command_line import CommandLine
from tests.support.server import KEY_ID, PROJECT_ID, SECRET, TestServer
from tests.support.webhook_receiver import webhook_receiver
from tests.support.webhooks import until

ADMIN_TOKEN = "test-admin-token"


async def test_a_project_with_its_own_key_becomes_the_one_that_is_used(cli: CommandLine) -> None:
    project_id = (await cli("project", "create", "second")).out.strip()
    key = (await cli("api-key", "create", "k1", "for tests", "--project-id", project_id, "--json")).json
    await cli("queue", "send", "jobs", "1", "--project-id", project_id)  # signed with the key that the server tells
    await cli("project", "activate", "second")
    profile = load_profile(cli.profile)
    assert (profile.project_id, profile.key_id, profile.secret) == (project_id, key["id"], key["token"])
    listed = await cli("project", "list", "--json")
    assert {entry["name"]: entry["active"] for entry in listed.json}["second"] is True
    assert (await cli("queue", "list")).rows == [["jobs", "1"]]
    assert "no such project: 'third'" in await cli.fails("project", "activate", "third", code=3)


async def test_keys(cli: CommandLine) -> None:
    made = await cli("api-key", "create", "other")
    shown = await cli("api-key", "show", "other")
    secret = dict(line.split("\t") for line in made.out.splitlines())["secret"]
    assert f"secret\t{secret}" in shown.out
    await cli("api-key", "activate", "other")
    assert load_profile(cli.profile).secret == secret
    assert {row[0]: row[-1] for row in (await cli("api-key", "list")).rows}["other"] == "yes"
    await cli("api-key", "delete", "other")
    refused, unknown = await asyncio.gather(
        cli.fails("queue", "list", code=4), cli.fails("api-key", "show", "other", code=3)
    )
    assert "error:" in refused
    assert "no such key: 'other'" in unknown


async def test_the_use_of_models(cli: CommandLine, server: TestServer) -> None:
    assert "no model was used" in (await cli("usage")).err
    headers = {"Authorization": f"Bearer {server.token('bot', room='den')}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for model in ("big", "big", "small"):
            body = {"model": model, "input": "hi"}
            async with session.post(f"{server.url}/rooms/den/v1/responses", json=body) as answer:
                assert answer.status == 200
    listed = (await cli("usage", "--by", "room", "--by", "model", "--json")).json
    assert sorted((row["room_name"], row["model"], row["requests"]) for row in listed) == [
        ("den", "big", 2),
        ("den", "small", 1),
    ]
    [row] = (await cli("usage", "--by", "participant")).rows
    assert row[:2] == ["bot", "3"]
    assert "no model was used" in (await cli("usage", "--to", "2020-01-01")).err
    assert "yesterday" in await cli.fails("usage", "--from", "yesterday", code=2)


async def test_rooms_and_their_sessions(cli: CommandLine) -> None:
    await cli("room", "create", "den")
    assert "name is already in use" in await cli.fails("room", "create", "den", code=6)
    await cli("queue", "send", "jobs", "1", "--room", "den")
    sessions = (await cli("session", "list", "--active", "--json")).json
    assert [session["room_name"] for session in sessions] == ["den"]
    events = await cli("session", "show", sessions[0]["id"], "--json")
    assert events.json != []
    await cli("session", "end", sessions[0]["id"])
    await cli("room", "rename", "den", "cave")
    assert "cave" in [row[0] for row in (await cli("room", "list")).rows]
    assert "Delete room" in (await cli("room", "delete", "cave", stdin="n\n", code=1)).err
    await cli("room", "delete", "cave", "-y")
    assert "cave" not in (await cli("room", "list", "--json")).out
    await asyncio.gather(cli.fails("room", "rename", "cave", "x", code=3), cli.fails("session", "show", "nope", code=3))


async def test_webhooks(cli: CommandLine) -> None:
    await cli("webhook", "create", "--name", "hook", "--url", "http://127.0.0.1:9/x", "-e", "room.started")
    assert (await cli("webhook", "list", "--json")).json[0]["events"] == ["room.started"]
    await cli("webhook", "delete", "hook")
    assert "no webhooks" in (await cli("webhook", "list")).err
    await asyncio.gather(
        cli.fails("webhook", "delete", "hook", code=3),
        cli.fails("webhook", "create", "--name", "x", "--url", "not a url", code=1),
    )


async def test_deliveries_of_webhooks(cli: CommandLine) -> None:
    async with webhook_receiver() as receiver:
        receiver.script = [404]
        await cli("webhook", "create", "--name", "hook", "--url", receiver.url(), "-e", "room.started")
        await cli("queue", "send", "jobs", "1", "--room", "den")
        await receiver.until_posts(1)
        failed = {"outcome": "failed", "status": 404, "room_name": "den"}

        async def has_failed() -> bool:
            listed = (await cli("webhook", "deliveries", "hook", "--json")).json
            return [{name: entry.get(name) for name in failed} for entry in listed] == [failed]

        await until(has_failed)
        [row] = (await cli("webhook", "deliveries", "hook")).rows
        assert row[2:7] == ["room.started", "den", "failed", "1", "404"]
        assert "no deliveries" in (await cli("webhook", "deliveries", "hook", "--outcome", "delivered")).err
        assert "sending 1 event again" in (await cli("webhook", "resend", "hook", row[1])).err
        await receiver.until_posts(2)
        assert "sending 0 events again" in (await cli("webhook", "resend", "hook", "--undelivered")).err
        await cli("webhook", "disable", "hook")
        assert "disabled by" in (await cli("webhook", "list", "--json")).json[0]["disabled_reason"]
        await asyncio.gather(
            cli.fails("webhook", "resend", "hook", row[1], code=6),
            cli.fails("webhook", "resend", "hook", code=2),
            cli.fails("webhook", "resend", "hook", row[1], "--undelivered", code=2),
            cli.fails("webhook", "deliveries", "other", code=3),
        )
        await cli("webhook", "enable", "hook")
        assert "disabled_at" not in (await cli("webhook", "list", "--json")).json[0]
        listed = (await cli("webhook", "deliveries", "hook", "-n", "2", "--json")).json
        assert [entry["outcome"] for entry in listed] == ["enabled", "disabled"]


async def test_secrets_are_listed_without_their_values(cli: CommandLine) -> None:
    await cli("secret", "keys", "create", "--name", "env", "A=1", "B=2=3")
    await cli(
        "secret",
        "docker",
        "create",
        "--name",
        "hub",
        "--server",
        "s",
        "--username",
        "u",
        "--password",
        "-",
        stdin="pw\n",
    )
    listed = await cli("secret", "list")
    assert {row[0]: json.loads(row[3]) for row in listed.rows} == {
        "env": ["A", "B"],
        "hub": ["email", "password", "server", "username"],
    }
    assert "pw" not in listed.out
    await cli("secret", "keys", "update", "env", "C=4")
    await cli("secret", "docker", "update", "hub", "--server", "t", "--username", "u", "--password", "pw2")
    revealed = {entry["name"]: entry["data"] for entry in (await cli("secret", "list", "--reveal", "--json")).json}
    assert revealed["env"] == {"C": "4"}
    assert (revealed["hub"]["server"], revealed["hub"]["password"]) == ("t", "pw2")
    await cli("secret", "delete", "env")
    await asyncio.gather(
        cli.fails("secret", "delete", "env", code=3), cli.fails("secret", "keys", "create", "--name", "x", "A", code=2)
    )


SERVICE = """\
version: v1
kind: Service
name: greeter
url: http://127.0.0.1:9
ports: [{num: 80, type: meshagent.callable, endpoints: [{path: /greet, identity: greeter}]}]
"""
TEMPLATE = """\
version: v1
kind: ServiceTemplate
name: templated
url: http://127.0.0.1:9
variables: [{name: WHO}]
environment: [{name: GREETING, value: "hello {WHO}"}]
"""


async def test_services_come_from_files(cli: CommandLine) -> None:
    (cli.home / "service.yaml").write_text(SERVICE)
    (cli.home / "template.yaml").write_text(TEMPLATE)
    await cli("service", "create", "-f", "service.yaml")
    await cli("service", "create", "-f", "template.yaml", "-v", "WHO=you")
    shown = await cli("service", "show", "templated")
    assert shown.json["environment"] == {"GREETING": "hello you"}
    (cli.home / "service.yaml").write_text(SERVICE.replace("127.0.0.1:9", "127.0.0.1:10"))
    await cli("service", "update", "greeter", "-f", "service.yaml")
    assert {row[0]: row[2] for row in (await cli("service", "list")).rows}["greeter"] == "http://127.0.0.1:10"
    taken, missing = await asyncio.gather(
        cli.fails("service", "create", "-f", "service.yaml", code=6),
        cli.fails("service", "create", "-f", "template.yaml", code=2),
    )
    assert "name is already in use" in taken
    assert "--value WHO=" in missing
    await cli("service", "delete", "greeter")
    (cli.home / "service.yaml").write_text("version: v1\nkind: Service\n")
    await asyncio.gather(
        cli.fails("service", "show", "greeter", code=3),
        cli.fails("service", "create", "-f", "service.yaml", code=2),
        cli.fails("service", "run", "missing.py", code=2),
    )


async def test_logging_in_looking_and_logging_out(cli: CommandLine, server: TestServer) -> None:
    cli.profile.unlink()
    assert "no credentials" in await cli.fails("project", "list", code=4)
    assert "error:" in await cli.fails("auth", "login", "--api-url", server.url, "--token", "wrong", code=4)
    await cli("auth", "login", "--api-url", server.url, "--token", "-", stdin=ADMIN_TOKEN + "\n")
    assert load_profile(cli.profile) == Profile(api_url=server.url, admin_token=ADMIN_TOKEN, project_id=PROJECT_ID)
    facts = (await cli("auth", "whoami", "--json")).json
    assert (facts["api_url"], facts["accounts"], facts["key_id"]) == (server.url, "administrator", None)
    await cli("auth", "logout")
    assert load_profile(cli.profile) == Profile(api_url=server.url)
    assert "nothing to remove" in (await cli("auth", "logout")).err
    assert (await cli("auth", "whoami", "--json")).json["accounts"] is None


async def test_setup_finds_or_makes_the_key(cli: CommandLine, server: TestServer) -> None:
    before = load_profile(cli.profile)
    await cli("setup")
    assert load_profile(cli.profile) == before  # a server on this machine has said it all
    cli.profile.unlink()
    await cli("setup", "--api-url", server.url, "--admin-token", ADMIN_TOKEN)
    assert load_profile(cli.profile) == before
    line = ApiKey(
        project_id="11111111-2222-3333-4444-555555555555", key_id="aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", secret="s"
    )
    await cli("setup", "--api-url", server.url, "--api-key", line.encode())
    assert load_profile(cli.profile).key_id == line.key_id
    assert "meshagent serve" in await cli.fails("setup", "--api-url", "http://127.0.0.1:9", code=5)
    cli.profile.unlink()
    assert "login" in await cli.fails("setup", "--api-url", server.url, code=4)


async def test_the_doctor_finds_what_is_wrong(cli: CommandLine, server: TestServer) -> None:
    def verdicts(text: str) -> dict[str, str]:
        return {finding["check"]: finding["verdict"] for finding in json.loads(text)}

    well = await cli("doctor", "--json")
    assert set(verdicts(well.out).values()) == {"ok"}
    assert "joined room" in (await cli("doctor")).out
    cli.profile.chmod(0o644)
    away = await cli("doctor", "--json", code=1, env={"MESHAGENT_API_URL": "http://127.0.0.1:9"})
    assert verdicts(away.out) == {
        "installation": "ok",
        "profile": "warning",
        "key": "ok",
        "server": "failed",
        "accounts": "skipped",
        "room": "skipped",
    }
    save_profile(Profile(api_url=server.url, project_id=PROJECT_ID, key_id=KEY_ID, secret=SECRET + "x"), cli.profile)
    locked = await cli("doctor", "--json", code=1)
    assert (verdicts(locked.out)["room"], verdicts(locked.out)["accounts"]) == ("failed", "warning")
    cli.profile.write_text("{")
    assert verdicts((await cli("doctor", "--json", code=1)).out)["profile"] == "failed"
