"""Every benchmark, and one table at the end.

python -m benchmarks.run [--quick] [--rounds N] [-- server flags]
"""

from __future__ import annotations

from benchmarks import database, dialects, documents, fairness, fanout, files, joins, queues, tools
from benchmarks.running import run_benchmarks


def main() -> None:
    """Run them all."""
    benchmarks = {
        "fan-out": fanout.run,
        "documents": documents.run,
        "tool calls": tools.run,
        "dialects": dialects.run,
        "queues": queues.run,
        "tables": database.run,
        "joins": joins.run,
        "files": files.run,
        "fairness": fairness.run,
    }
    run_benchmarks(benchmarks, __doc__)


if __name__ == "__main__":
    main()
