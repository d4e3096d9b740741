"""Values that people give on the command line: JSON, files, and which of several spellings they used."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeVar

from meshagent.cli.output import CommandError, ExitCode, UsageError

Value = TypeVar("Value")


def read_text(source: str, what: str) -> str:
    """The text that `source` stands for: `-` is standard input, `@FILE` a file, anything else itself."""
    if source == "-":
        return sys.stdin.read()
    return read_file(Path(source[1:]), what) if source.startswith("@") else source


def read_file(path: Path, what: str) -> str:
    """A text file of this machine; CommandError where it cannot be read."""
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        code = ExitCode.NOT_FOUND if isinstance(error, FileNotFoundError) else ExitCode.FAILED
        raise CommandError(f"the {what} cannot be read: {error}", code=code) from None


def parse_json(source: str, what: str) -> Any:
    """The JSON value that `source` stands for, see `read_text`; UsageError where it is none."""
    text = read_text(source, what)
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"the {what} must be JSON: {error}", hint="""quote it for the shell, as in '{"key": "value"}'"""
        ) from None


def parse_object(source: str, what: str) -> dict[str, Any]:
    """As `parse_json`, of an object."""
    value = parse_json(source, what)
    if not isinstance(value, dict):
        raise UsageError(f"the {what} must be a JSON object")
    return value


def parse_loose(source: str, what: str) -> Any:
    """The JSON value that `source` stands for, or its text where it is no JSON."""
    text = read_text(source, what)
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_yaml(path: Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML (or JSON) file."""
    import yaml

    try:
        value = yaml.safe_load(read_file(path, what))
    except yaml.YAMLError as error:
        raise UsageError(f"the {what} {path} is not YAML: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"the {what} {path} must be a mapping")
    return value


def parse_pairs(pairs: list[str], what: str) -> dict[str, str]:
    """`NAME=VALUE` texts as a dict."""
    found = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not name or not separator:
            raise UsageError(f"a {what} reads NAME=VALUE, not {pair!r}")
        found[name] = value
    return found


def one_of(first: Value | None, second: Value | None, what: str) -> Value:
    """Whichever of two spellings of a required value was used."""
    value = first if first is not None else second
    if value is None:
        raise UsageError(f"{what} is missing")
    return value
