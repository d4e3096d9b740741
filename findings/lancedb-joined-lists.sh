#!/bin/sh
# Filters that join two lists for one column take rows in which the column is null.
#
# Versions: lancedb 0.40.0, pyarrow 26.0.1
# Expected: as in SQL, a list is neither true nor false for null, so that no combination of lists by AND, OR and NOT
#   selects the row; or the same answer as from comparisons with each value.
# Observed: `n NOT IN (1) OR n NOT IN (2)` and `NOT (n IN (1) AND n IN (2))` select the row without `n`, while the
#   comparisons do not. Equations joined by OR count as lists. With `nullif(n, NULL)` in place of `n` in one of two
#   lists the row is left out.
# In the product: `server/stores/tables/choices.py` makes the expressions different where it matters; tests in
#   `tests/server/services/test_sql_changes.py`.
. "$(dirname "$0")/lib.sh"
install lancedb==0.40.0 pyarrow==26.0.1
run_python <<'PY'
import lancedb
import pyarrow as pa

table = lancedb.connect("data").create_table("t", pa.table({"n": pa.array([1, 2, 3, None], pa.int64())}))
for condition in (
    "n NOT IN (1)",
    "n NOT IN (1) OR n NOT IN (2)",
    "n <> 1 OR n <> 2",
    "n NOT IN (1) OR nullif(n, NULL) NOT IN (2)",
    "NOT (n IN (1) AND n IN (2))",
    "NOT (n = 1 AND n = 2)",
    "NOT ((n = 1 OR n = 2) AND (n = 3 OR n = 4) AND (n IN (5)))",
):
    found = [row["n"] for row in table.search().where(condition).to_list()]
    print(f"{condition}: {sorted(found, key=str)}")
PY
expect <<'END'
n NOT IN (1): [2, 3]
n NOT IN (1) OR n NOT IN (2): [1, 2, 3, None]
n <> 1 OR n <> 2: [1, 2, 3]
n NOT IN (1) OR nullif(n, NULL) NOT IN (2): [1, 2, 3]
NOT (n IN (1) AND n IN (2)): [1, 2, 3, None]
NOT (n = 1 AND n = 2): [1, 2, 3]
NOT ((n = 1 OR n = 2) AND (n = 3 OR n = 4) AND (n IN (5))): [1, 2, 3, None]
END
