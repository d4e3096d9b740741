"""Where settings come from: flags win over the environment, that over the file, that over the defaults.

The file is TOML with the names of `ServerConfig`: top-level keys, and tables for `limits`, `livekit`, `llm`, `engines`,
`outgoing` and `webhooks`. In the environment a setting is `MESHAGENT_SERVER_` and its name,
`MESHAGENT_SERVER_LIMITS_…` for one of a table; a few have the names that other programs know. A list is written with
commas there, and `llm.prices` as JSON.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError
from meshagent.server.config import ServerConfig

PREFIX: Final = "MESHAGENT_SERVER_"
WELL_KNOWN: Final[Mapping[str, str]] = {
    "MESHAGENT_PROJECT_ID": "project_id",
    "MESHAGENT_KEY_ID": "key_id",
    "MESHAGENT_SECRET": "secret",
    "MESHAGENT_ADMIN_TOKEN": "admin_token",
    "MESHAGENT_WEBHOOK_SECRET": "webhook_secret",
    "LIVEKIT_URL": "livekit.url",
    "LIVEKIT_API_KEY": "livekit.api_key",
    "LIVEKIT_API_SECRET": "livekit.api_secret",
}
# A cluster that runs a service called "meshagent-server" puts these into every container.
_SERVICE_LINKS: Final = re.compile(r"MESHAGENT_SERVER_(SERVICE_.*|PORT_\d+_.*)")


class ConfigError(Exception):
    """A setting is wrong; the text names it, where it was set, and what it may be. Values are not repeated."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its dotted name, and what pydantic knows of it."""

    name: str
    field: FieldInfo

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper().replace(".", "_")

    @property
    def is_list(self) -> bool:
        return isinstance(self.field.default, tuple)

    @property
    def is_mapping(self) -> bool:
        """Whether its value is a table whose names the operator chooses."""
        return isinstance(self.field.default, dict)


@dataclass(frozen=True, slots=True)
class _Given:
    value: Any
    source: str


def iter_settings(model: type[BaseModel] = ServerConfig, prefix: str = "") -> Iterator[Setting]:
    """All settings, those of tables after their dot, in the order of the declarations."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from iter_settings(kind, f"{prefix}{name}.")
        else:
            yield Setting(prefix + name, field)


def load_config(
    *,
    flags: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> ServerConfig:
    """The server's configuration.

    Args:
        flags: Values by setting name; None means that the flag was not given.
        overrides: `NAME=VALUE` texts of the `--set` flag.
        environ: The environment; None stands for an empty one.
        file: A TOML file; it must exist.

    Raises:
        ConfigError: A name is unknown, a value does not fit, or the file cannot be read.
    """
    settings = {setting.name: setting for setting in iter_settings()}
    given: dict[str, _Given] = {}
    if file is not None:
        given |= _from_file(file, settings)
    given |= _from_environment(environ or {}, settings)
    given |= _from_overrides(overrides, settings)
    given |= {
        name: _Given(value, f"flag --{_flag(name)}") for name, value in (flags or {}).items() if value is not None
    }
    return _build(given)


def _flag(name: str) -> str:
    return {"data_dir": "data"}.get(name, name.replace("_", "-"))


def _from_file(path: Path, settings: Mapping[str, Setting]) -> dict[str, _Given]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {path} is not valid TOML: {error}") from None
    given: dict[str, _Given] = {}
    for name, value in _flatten(data, settings):
        if name not in settings:
            raise ConfigError(f"{path}: unknown setting {name!r}")
        given[name] = _Given(value, str(path))
    return given


def _flatten(data: Mapping[str, Any], settings: Mapping[str, Setting], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and prefix + key not in settings:
            yield from _flatten(value, settings, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _from_environment(environ: Mapping[str, str], settings: Mapping[str, Setting]) -> dict[str, _Given]:
    by_variable = dict(WELL_KNOWN) | {setting.variable: setting.name for setting in settings.values()}
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in by_variable and not _SERVICE_LINKS.fullmatch(variable):
            raise ConfigError(f"unknown environment variable {variable}: no setting has this name")
    given: dict[str, _Given] = {}
    for variable, name in by_variable.items():  # MESHAGENT_SERVER_… come later and so win over the well-known names
        text = environ.get(variable, "")
        if text and not (name == "port" and text.startswith("tcp://")):  # the link again
            given[name] = _Given(_parse(settings[name], text), f"environment variable {variable}")
    return given


def _from_overrides(overrides: Sequence[str], settings: Mapping[str, Setting]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise ConfigError("the flag --set needs NAME=VALUE")
        if name not in settings:
            raise ConfigError(f"flag --set: unknown setting {name!r}")
        given[name] = _Given(_parse(settings[name], text), "flag --set")
    return given


def _parse(setting: Setting, text: str) -> Any:
    if setting.is_list:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if setting.is_mapping:
        try:
            return jsontext.loads(text)
        except InvalidRequestError:
            raise ConfigError(f"setting {setting.name!r}: not a JSON object") from None
    return text


def _build(given: Mapping[str, _Given]) -> ServerConfig:
    tree: dict[str, Any] = {}
    for name, item in given.items():
        *tables, key = name.split(".")
        target = tree
        for table in tables:
            target = target.setdefault(table, {})
        target[key] = item.value
    try:
        return ServerConfig.model_validate(tree)
    except ValidationError as error:
        problems = [_describe(problem, given) for problem in error.errors(include_url=False, include_input=False)]
        raise ConfigError("\n".join(problems)) from None


def _describe(problem: Any, given: Mapping[str, _Given]) -> str:
    location = [str(part) for part in problem["loc"]]
    name = next((".".join(location[:size]) for size in (3, 2, 1) if ".".join(location[:size]) in given), location[0])
    source = f" (from {given[name].source})" if name in given else ""
    return f"setting {name!r}{source}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
