"""Runs a program for `meshagent service run`: `python -m meshagent.cli.service_program FD FILE`.

Runs FILE as `__main__`. For each `ServiceHost` that starts in it, writes a JSON line `{"port", "paths"}` to the file
descriptor FD. If FILE creates hosts but starts none, they are run after its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

from meshagent.api.hosting.host import ServiceHost


def main(descriptor: int, file: str) -> None:
    """Run the program until it ends."""
    started: list[ServiceHost] = []
    start = ServiceHost.start

    async def start_and_report(host: ServiceHost) -> None:
        await start(host)
        started.append(host)
        line = json.dumps({"port": host.port, "paths": [service.path for service in host.paths]})
        os.write(descriptor, line.encode() + b"\n")

    # The program may start its hosts in several ways; all of them call `start`.
    setattr(ServiceHost, "start", start_and_report)  # noqa: B010 - type checkers reject plain assignment
    sys.argv = [file]
    sys.path[0] = str(Path(file).parent)
    names = runpy.run_path(file, run_name="__main__")
    if not started:
        asyncio.run(_run_all(names))


async def _run_all(names: dict[str, Any]) -> None:
    hosts = {id(value): value for value in names.values() if isinstance(value, ServiceHost)}
    if not hosts:
        sys.exit("error: the program does not create a ServiceHost")
    await asyncio.gather(*(host.run() for host in hosts.values()))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
