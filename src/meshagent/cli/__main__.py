"""Lets `python -m meshagent.cli` run the `meshagent` command."""

from meshagent.cli import main

if __name__ == "__main__":
    main()
