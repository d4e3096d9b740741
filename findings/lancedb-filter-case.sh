#!/bin/sh
# One table takes a column's name in any case in filters and keys, and in the exact case elsewhere.
#
# Versions: lancedb 0.40.0, pyarrow 26.0.1
# Expected: as in DataFusion, an unquoted name in a filter is lower-cased, so that it does not find a column with
#   capital letters; or names are exact everywhere.
# Observed: unquoted names in filters, SQL expressions of `update` and `merge_insert` keys find a column whatever the
#   case; quoted names, `select`, `values` of `update` and `drop_columns` want the exact case. With columns `name` and
#   `Name`, exact names win, and `NAME` is `name`.
# In the product: filters are the engine's own language, so the same holds for them; elsewhere names are exact.
. "$(dirname "$0")/lib.sh"
install lancedb==0.40.0 pyarrow==26.0.1
run_python <<'PY'
import lancedb
import pyarrow as pa

database = lancedb.connect("data")
one = database.create_table("one", pa.table({"Name": ["x"], "n": [1]}))
two = database.create_table("two", pa.table({"name": ["small"], "Name": ["capital"]}))


def attempt(what, act) -> None:
    try:
        print(f"{what}:", act())
    except ValueError:
        print(f"{what}: refused")


attempt("filter Name", lambda: one.count_rows("Name = 'x'"))
attempt("filter NAME", lambda: one.count_rows("NAME = 'x'"))
attempt('filter "nAmE"', lambda: one.count_rows("\"nAmE\" = 'x'"))
attempt("update expression", lambda: one.update(values_sql={"n": "N + 1"}).rows_updated)
attempt("update column", lambda: one.update(values={"N": 5}))
attempt("select", lambda: one.search().select(["name"]).to_list())
attempt("drop", lambda: one.drop_columns(["name"]))
source = pa.table({"Name": ["x"], "n": [7]})
attempt("merge key", lambda: one.merge_insert("name").when_matched_update_all().execute(source).num_updated_rows)
for column in ("name", "Name", "NAME"):
    small, capital = (two.count_rows(f"{column} = '{value}'") for value in ("small", "capital"))
    print(f"of two, {column} is", "name" if small else "Name" if capital else "neither")
PY
expect <<'END'
filter Name: 1
filter NAME: 1
filter "nAmE": refused
update expression: 1
update column: refused
select: refused
drop: refused
merge key: 1
of two, name is name
of two, Name is Name
of two, NAME is name
END
