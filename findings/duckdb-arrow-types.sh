#!/bin/sh
# Which Arrow types survive a query that only selects the column.
#
# Versions: duckdb 2.0.0, pyarrow 26.0.1, pytz 2025.2
# Expected: types that DuckDB has no equal of change: null becomes int32 and timestamp[s] becomes timestamp[us]. A
#   dictionary stays one, because DuckDB has enumerations.
# Observed: null, timestamp[s] and fixed-size lists survive. A dictionary becomes plain strings, large_string becomes
#   string, date64 becomes date32, time32 becomes time64, and a duration becomes a calendar interval. A time zone
#   becomes the session's.
# In the product: the answer's schema is what DuckDB gives; the session's time zone is UTC
#   (`src/meshagent/server/services/sql/engine.py`).
. "$(dirname "$0")/lib.sh"
install duckdb==2.0.0 pyarrow==26.0.1 pytz==2025.2
run_python <<'PY'
import duckdb
import pyarrow as pa

columns = {
    "null": pa.nulls(1),
    "timestamp_s": pa.array([0], pa.timestamp("s")),
    "fixed_list": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
    "dictionary": pa.array(["a"]).dictionary_encode(),
    "large": pa.array(["a"], pa.large_string()),
    "date64": pa.array([0], pa.date64()),
    "time32": pa.array([0], pa.time32("s")),
    "duration": pa.array([1], pa.duration("us")),
    "zoned": pa.array([0], pa.timestamp("us", "America/New_York")),
}
connection = duckdb.connect()
connection.execute("SET TimeZone = 'Europe/Berlin'")
given = pa.table(columns)
connection.register("given", given)
answer = connection.sql("SELECT * FROM given").to_arrow_table()
for before, after in zip(given.schema, answer.schema, strict=True):
    print(f"{before.type} -> {'the same' if before.type == after.type else after.type}")
PY
expect <<'END'
null -> the same
timestamp[s] -> the same
fixed_size_list<item: float>[2] -> the same
dictionary<values=string, indices=int32, ordered=0> -> string
large_string -> string
date64[ms] -> date32[day]
time32[s] -> time64[us]
duration[us] -> month_day_nano_interval
timestamp[us, tz=America/New_York] -> timestamp[us, tz=Europe/Berlin]
END
