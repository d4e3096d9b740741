"""Parse values given on the command line: JSON, YAML, `NAME=VALUE` pairs, `@FILE` and `-`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeVar

from meshagent.cli.output import CommandError, ExitCode, UsageError

Value = TypeVar("Value")


def read_text(source: str, what: str) -> str:
    """Return the text of a source: `-` is standard input, `@FILE` a file, anything else is the text itself."""
    if source == "-":
        return sys.stdin.read()
    return read_file(Path(source[1:]), what) if source.startswith("@") else source


def read_file(path: Path, what: str) -> str:
    """Return the content of a local text file; CommandError if it cannot be read."""
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        code = ExitCode.NOT_FOUND if isinstance(error, FileNotFoundError) else ExitCode.FAILED
        raise CommandError(f"cannot read the {what}: {error}", code=code) from None


def parse_json(source: str, what: str) -> Any:
    """Parse the text of a source (see `read_text`) as JSON; UsageError if it is not JSON."""
    text = read_text(source, what)
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"the {what} must be JSON: {error}", hint="""quote it for the shell, as in '{"key": "value"}'"""
        ) from None


def parse_object(source: str, what: str) -> dict[str, Any]:
    """As `parse_json`, but the value must be an object."""
    value = parse_json(source, what)
    if not isinstance(value, dict):
        raise UsageError(f"the {what} must be a JSON object")
    return value


def parse_json_or_text(source: str, what: str) -> Any:
    """Return the JSON value of a source, or its text if that is not JSON."""
    text = read_text(source, what)
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_yaml(path: Path, what: str) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file."""
    import yaml

    try:
        value = yaml.safe_load(read_file(path, what))
    except yaml.YAMLError as error:
        raise UsageError(f"the {what} {path} is not YAML: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"the {what} {path} must be a mapping")
    return value


def parse_pairs(pairs: list[str], what: str) -> dict[str, str]:
    """Return `NAME=VALUE` texts as a dict."""
    found = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not name or not separator:
            raise UsageError(f"{what} must have the form NAME=VALUE, not {pair!r}")
        found[name] = value
    return found


def require_one(first: Value | None, second: Value | None, what: str) -> Value:
    """Return the value given in one of two ways; UsageError if neither was used."""
    value = first if first is not None else second
    if value is None:
        raise UsageError(f"{what} is required")
    return value
