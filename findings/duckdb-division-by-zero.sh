#!/bin/sh
# DuckDB has two answers to a division by zero, depending on the operator.
#
# Versions: duckdb 2.0.0
# Expected: null for all of them, as in DuckDB 1.
# Observed: `/` follows IEEE 754 for integers and decimals too (inf, nan), and these go through comparisons and sums
#   as numbers. `//` and `%` are errors that end the whole query, for one bad row among many; TRY makes null of them.
# In the product: SQL queries are DuckDB's, and answer as it does.
. "$(dirname "$0")/lib.sh"
install duckdb==2.0.0
run_python <<'PY'
import duckdb

connection = duckdb.connect()
for expression in ("1 / 0", "0 / 0", "1::DECIMAL / 0", "1 // 0", "1 % 0", "TRY(1 % 0)", "1 / 0 > 5"):
    try:
        print(f"{expression}:", connection.execute(f"SELECT {expression}").fetchone()[0])
    except duckdb.InvalidInputException as error:
        print(f"{expression}:", str(error).split(" in expression")[0])
print("sum:", connection.execute("SELECT sum(1 / n) FROM (VALUES (1), (0), (2)) AS t(n)").fetchone()[0])
PY
expect <<'END'
1 / 0: inf
0 / 0: nan
1::DECIMAL / 0: inf
1 // 0: Invalid Input Error: Division by zero
1 % 0: Invalid Input Error: Division by zero
TRY(1 % 0): None
1 / 0 > 5: True
sum: inf
END
