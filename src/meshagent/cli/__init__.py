"""The `meshagent` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line. Ends the process with the command's exit code."""
    from meshagent.cli.app import run

    run()
