#!/bin/sh
# A Yjs document changes the type of a value on its way through pycrdt.
#
# Versions: pycrdt 0.14.13, yjs 13.6.33 (npm)
# Expected: a document that pycrdt has loaded and encoded again, or an update that `merge_updates` has rewritten
#   without loading it, holds the same JavaScript values as before.
# Observed: a BigInt that fits a double becomes a Number, and -0 becomes 0, also in `merge_updates`. A peer that got
#   the original update has `5n`, a peer that got the state from a Python server has `5`, and neither ever hears of a
#   difference: both hold the same state vector. In Python, integers are floats up to 2**53 - 1, and ints from there
#   on.
# In the product: attribute values are JSON, which has neither BigInt nor -0.
. "$(dirname "$0")/lib.sh"
install pycrdt==0.14.13
install_node yjs@13.6.33

run_node <<'JS'
import * as Y from 'yjs'
import fs from 'node:fs'
const doc = new Y.Doc()
const map = doc.getMap('map')
map.set('bigint', 5n)
map.set('zero', -0)
map.set('undefined', undefined)
fs.writeFileSync('original', Y.encodeStateAsUpdate(doc))
JS
run_python <<'PY'
from pathlib import Path
from pycrdt import Doc, Map, merge_updates

original = Path("original").read_bytes()
doc = Doc()
doc["map"] = Map()
doc.apply_update(original)
Path("loaded").write_bytes(doc.get_update())
Path("merged").write_bytes(merge_updates(original))
numbers = Map()
Doc()["numbers"] = numbers
for value in (5, 2**53 - 1, 2**53):
    numbers["value"] = value
    print(f"python {value}: {numbers['value']!r}")
PY
run_node <<'JS'
import * as Y from 'yjs'
import fs from 'node:fs'
for (const name of ['original', 'loaded', 'merged']) {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, fs.readFileSync(name))
  const map = doc.getMap('map')
  const vector = [...Y.decodeStateVector(Y.encodeStateVector(doc)).values()]
  const sign = Object.is(map.get('zero'), -0) ? '-0' : '0'
  console.log(`${name}: ${typeof map.get('bigint')}, ${sign}, ${map.get('undefined')}, state vector ${vector}`)
}
JS
expect <<'END'
python 5: 5.0
python 9007199254740991: 9007199254740991.0
python 9007199254740992: 9007199254740992
original: bigint, -0, undefined, state vector 3
loaded: number, 0, undefined, state vector 3
merged: number, 0, undefined, state vector 3
END
