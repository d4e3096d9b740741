#!/bin/sh
# Renaming an object to its own name deletes it, in one of two stores.
#
# Versions: obstore 0.12.1
# Expected: `rename(store, "a", "a")` changes nothing, and `delete` of an object that does not exist does the same in
#   each store, so that tests with `MemoryStore` hold for `LocalStore`.
# Observed: in `MemoryStore` the object is gone after the rename, because it is a copy and a delete; in `LocalStore`
#   it stays. `delete` of a missing object succeeds in `MemoryStore` and is a FileNotFoundError in `LocalStore`. An
#   object may have the name of another one's folder in the first, and not in the second.
# In the product: does not use obstore.
. "$(dirname "$0")/lib.sh"
install obstore==0.12.1
run_python <<'PY'
import os

import obstore
from obstore.store import LocalStore, MemoryStore

os.mkdir("data")


def attempt(act) -> str:
    try:
        act()
    except Exception as error:
        return type(error).__name__
    return "succeeds"


for store in (MemoryStore(), LocalStore(os.path.abspath("data"))):
    obstore.put(store, "a", b"content")
    obstore.rename(store, "a", "a")
    print(type(store).__name__)
    print("  after the rename:", attempt(lambda: obstore.head(store, "a")))
    print("  deleting what is missing:", attempt(lambda: obstore.delete(store, "missing")))
    obstore.put(store, "folder/x", b"")
    print("  an object named like a folder:", attempt(lambda: obstore.put(store, "folder", b"")))
PY
expect <<'END'
MemoryStore
  after the rename: FileNotFoundError
  deleting what is missing: succeeds
  an object named like a folder: succeeds
LocalStore
  after the rename: succeeds
  deleting what is missing: FileNotFoundError
  an object named like a folder: GenericError
END
