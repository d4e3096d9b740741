"""Every benchmark, and one table at the end.

python -m benchmarks.run [--quick] [--rounds N] [-- server flags]
"""

from __future__ import annotations

from benchmarks import documents, fanout, files, joins
from benchmarks.running import run_benchmarks


def main() -> None:
    """Run them all."""
    run_benchmarks({"fan-out": fanout.run, "documents": documents.run, "joins": joins.run, "files": files.run}, __doc__)


if __name__ == "__main__":
    main()
