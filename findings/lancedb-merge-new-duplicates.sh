#!/bin/sh
# An upsert refuses duplicate keys only where the key exists already.
#
# Versions: lancedb 0.40.0, pyarrow 26.0.1
# Expected: `merge_insert` refuses a source with two rows for one key, whether or not the table has that key.
# Observed: two rows for an existing key are refused ("Ambiguous merge inserts are prohibited"). Two rows for a new
#   key are both inserted, so that the table has the key twice, and the same call, made again, is then refused. Rows
#   whose key is null match nothing, and are inserted each time.
# In the product: rows with one key are folded before the engine sees them, and a null key is an error
#   (`test_merging_partial_rows`, `test_merges_without_a_key`).
. "$(dirname "$0")/lib.sh"
install lancedb==0.40.0 pyarrow==26.0.1
run_python <<'PY'
import lancedb
import pyarrow as pa

table = lancedb.connect("data").create_table("t", pa.table({"key": [1], "value": ["old"]}))


def upsert(*rows: tuple[int | None, str]) -> str:
    keys, values = zip(*rows, strict=True)
    source = pa.table({"key": pa.array(keys, pa.int64()), "value": list(values)})
    try:
        result = table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all().execute(source)
    except ValueError as error:
        return "refused" if "Ambiguous" in str(error) else str(error)
    return f"{result.num_updated_rows} updated, {result.num_inserted_rows} inserted"


print("existing key twice:", upsert((1, "a"), (1, "b")))
print("new key twice:", upsert((2, "a"), (2, "b")))
print("the same again:", upsert((2, "a"), (2, "b")))
print("null key:", upsert((None, "a")))
print("null key again:", upsert((None, "b")))
print(sorted((row["key"] or 0, row["value"]) for row in table.to_arrow().to_pylist()))
PY
expect <<'END'
existing key twice: refused
new key twice: 0 updated, 2 inserted
the same again: refused
null key: 0 updated, 1 inserted
null key again: 0 updated, 1 inserted
[(0, 'a'), (0, 'b'), (1, 'old'), (2, 'a'), (2, 'b')]
END
