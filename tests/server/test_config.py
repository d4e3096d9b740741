"""Settings: where they come from, which source wins, and how mistakes are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from meshagent.server.config import ServerConfig
from meshagent.server.config_sources import WELL_KNOWN, ConfigError, iter_settings, load_config

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_listen_on_this_machine_only_and_survive_a_power_cut() -> None:
    config = load_config()
    assert (config.host, config.port, config.durability) == ("127.0.0.1", 8080, "fsync")
    assert config.data_dir == Path.cwd() / "meshagent-data"
    assert config.secret is None


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:99"),
        ("0.0.0.0", "http://localhost:99"),
        ("::", "http://localhost:99"),
        ("::1", "http://[::1]:99"),
    ],
)
def test_the_servers_own_url_is_one_that_can_be_dialled(host: str, url: str) -> None:
    config = load_config(flags={"host": host})
    assert config.local_url(99) == config.base_url(99) == url
    config = load_config(flags={"host": host, "public_url": "https://rooms.example.com/"})
    assert (config.local_url(99), config.base_url(99)) == (url, "https://rooms.example.com")


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = write(tmp_path / "s.toml", 'host = "file"\nport = 1\nidle_grace = 1\n[limits]\nmax_file_bytes = 1\n')
    environ = {"MESHAGENT_SERVER_HOST": "environment", "MESHAGENT_SERVER_PORT": "2"}
    config = load_config(
        file=file, environ=environ, overrides=["limits.max_file_bytes=3"], flags={"host": "flag", "port": None}
    )
    assert (config.host, config.port, config.idle_grace, config.limits.max_file_bytes) == ("flag", 2, 1.0, 3)
    assert config.shutdown_grace == ServerConfig().shutdown_grace


def test_well_known_variables_count_and_the_servers_own_names_win() -> None:
    config = load_config(
        environ={
            "MESHAGENT_PROJECT_ID": "your-project-id",
            "MESHAGENT_SECRET": "s",
            "LIVEKIT_URL": "wss://l",
            "MESHAGENT_KEY_ID": "k",
            "MESHAGENT_SERVER_KEY_ID": "own",
        }
    )
    assert (config.project_id, config.key_id, config.livekit.url) == ("your-project-id", "own", "wss://l")
    assert config.secret is not None
    assert config.secret.get_secret_value() == "s"


def test_lists_and_switches_are_read_from_text() -> None:
    config = load_config(
        environ={"MESHAGENT_SERVER_OUTGOING_ALLOW": "a.example, *.b.example", "MESHAGENT_SERVER_METRICS": "no"},
        overrides=["outgoing.deny="],
    )
    assert config.outgoing.allow == ("a.example", "*.b.example")
    assert config.outgoing.deny == ()
    assert config.metrics is False


def test_empty_variables_and_the_links_of_a_cluster_are_no_settings() -> None:
    config = load_config(
        environ={
            "MESHAGENT_SERVER_HOST": "",
            "MESHAGENT_SERVER_PORT": "tcp://10.0.0.1:8080",
            "MESHAGENT_SERVER_PORT_8080_TCP_ADDR": "10.0.0.1",
            "MESHAGENT_SERVER_SERVICE_HOST": "10.0.0.1",
        }
    )
    assert (config.host, config.port) == ("127.0.0.1", 8080)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MESHAGENT_SERVER_PORT", "http", ["'port'", "MESHAGENT_SERVER_PORT", "integer"]),
        ("MESHAGENT_SERVER_PORT", "70000", ["'port'", "65535"]),
        ("MESHAGENT_SERVER_PUBLIC_URL", "rooms.example.com", ["'public_url'", "https://"]),
        ("MESHAGENT_SERVER_DURABILITY", "none", ["'durability'", "fsync"]),
        (
            "MESHAGENT_SERVER_LIMITS_MAX_FILE_BYTES",
            "-1",
            ["'limits.max_file_bytes'", "MAX_FILE_BYTES", "greater than 0"],
        ),
        ("MESHAGENT_SERVER_IDEL_GRACE", "1", ["MESHAGENT_SERVER_IDEL_GRACE"]),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(environ={variable: value})
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port = 'x'", ["'port'", "s.toml"]),
        ("prot = 1", ["'prot'", "s.toml"]),
        ("limits = 1", ["'limits'", "s.toml"]),
        ("[limits]\nnothing = 1", ["'limits.nothing'"]),
        ("port = ", ["not valid TOML", "s.toml"]),
    ],
)
def test_a_wrong_line_of_the_file_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(file=write(tmp_path / "s.toml", text))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_missing_file_and_a_malformed_override_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration file .*none\.toml"):
        load_config(file=tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        load_config(overrides=["port"])
    with pytest.raises(ConfigError, match="unknown setting 'prot'"):
        load_config(overrides=["prot=1"])


def test_all_mistakes_are_told_at_once_without_repeating_values() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(flags={"port": -1, "host": ""}, environ={"MESHAGENT_SERVER_LOG_LEVEL": "hunter2"})
    assert len(str(caught.value).splitlines()) == 3
    assert "hunter2" not in str(caught.value)


def test_the_configuration_is_immutable_and_keeps_secrets_out_of_its_text() -> None:
    config = load_config(environ={"MESHAGENT_SECRET": "hunter2", "LIVEKIT_API_SECRET": "hunter2"})
    assert "hunter2" not in repr(config)
    with pytest.raises(ValidationError):
        setattr(config, "port", 1)  # noqa: B010 - the type checker would refuse the plain form


def test_every_setting_has_a_description_and_a_line_in_the_reference() -> None:
    reference = REFERENCE.read_text(encoding="utf-8")
    for setting in iter_settings():
        line = next((line for line in reference.splitlines() if line.startswith(f"| `{setting.name}` |")), "")
        assert f"`{setting.variable}`" in line, f"docs/reference/configuration.md lacks {setting.name}"
        assert setting.field.description, setting.name
        assert setting.field.description in line, f"the reference says something else about {setting.name}"
    assert all(variable in reference for variable in WELL_KNOWN)


def test_the_reference_describes_no_setting_that_is_gone() -> None:
    names = {setting.name for setting in iter_settings()}
    table = REFERENCE.read_text(encoding="utf-8").partition("## Variables that clients read")[0]
    listed = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert listed == names


def test_prices_and_budgets_are_tables_in_tables(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(
        '[llm.prices]\n"gpt-5.1" = {input = 1.25, output = 10}\n"small*" = {input = 1}\n'
        "[llm.token_budget]\ntokens_per_minute = 200_000\n"
    )
    llm = load_config(file=file).llm
    assert (llm.prices["gpt-5.1"].output, llm.prices["small*"].cached_input) == (10, None)
    assert (llm.token_budget.tokens_per_minute, llm.room_budget.tokens_per_minute) == (200_000, 0)
    environ = {
        "MESHAGENT_SERVER_LLM_PRICES": '{"big": {"input": 2}}',
        "MESHAGENT_SERVER_LLM_PROJECT_BUDGET_COST_PER_DAY": "1.5",
    }
    llm = load_config(file=file, environ=environ).llm
    assert (list(llm.prices), llm.prices["big"].input, llm.project_budget.cost_per_day) == (["big"], 2, 1.5)
    llm = load_config(overrides=["llm.room_budget.requests_per_minute=5"]).llm
    assert llm.room_budget.requests_per_minute == 5


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("llm.prices={", "setting 'llm.prices': not a JSON object"),
        ('llm.prices={"big": {"input": -1}}', "setting 'llm.prices'"),
        ('llm.prices={"big": {"inptu": 1}}', "setting 'llm.prices'"),
        ("llm.token_budget.cost_per_day=inf", "setting 'llm.token_budget.cost_per_day'"),
        ("llm.token_budget=1", "unknown setting 'llm.token_budget'"),
    ],
)
def test_wrong_prices_and_budgets_are_told_by_name(override: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        load_config(overrides=[override])
