"""What `meshagent service run` starts: `python -m meshagent.cli.service_program FD FILE`.

Runs FILE as a program would be run, and writes one JSON line for each `ServiceHost` that starts in it to the file
descriptor FD: `{"port", "paths"}`. A host that FILE makes but does not run is run at its end.
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
    """Run the program; returns when it has ended."""
    started: list[ServiceHost] = []
    start = ServiceHost.start

    async def start_and_tell(host: ServiceHost) -> None:
        await start(host)
        started.append(host)
        line = json.dumps({"port": host.port, "paths": [service.path for service in host.paths]})
        os.write(descriptor, line.encode() + b"\n")

    # The program owns its hosts and may start them in any way; this is where all ways meet.
    setattr(ServiceHost, "start", start_and_tell)  # noqa: B010 - type checkers forbid the plain form
    sys.argv = [file]
    sys.path[0] = str(Path(file).parent)
    names = runpy.run_path(file, run_name="__main__")
    if not started:
        asyncio.run(_run_all(names))


async def _run_all(names: dict[str, Any]) -> None:
    hosts = {id(value): value for value in names.values() if isinstance(value, ServiceHost)}
    if not hosts:
        sys.exit("error: the program has no ServiceHost")
    await asyncio.gather(*(host.run() for host in hosts.values()))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
