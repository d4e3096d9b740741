"""The `meshagent` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; never returns normally, the process's exit code says how it went."""
    from meshagent.cli.app import run

    run()
