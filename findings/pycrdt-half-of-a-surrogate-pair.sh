#!/bin/sh
# Deleting half of a surrogate pair with Yjs leaves a pycrdt copy with another text, for good.
#
# Versions: pycrdt 0.14.13, yjs 13.6.33 (npm)
# Expected: Yjs counts UTF-16 units and lets a program delete one of the two units of an emoji; every copy that has the
#   update then shows the same text, as the state vectors and deletions of the copies are the same.
# Observed: Yjs puts U+FFFD in place of the half that is left. pycrdt, which keeps texts in UTF-8, keeps the whole emoji
#   and removes the letter behind it (second half deleted), or removes the emoji and shows no U+FFFD (first half). A
#   pycrdt copy that loads the whole state from Yjs agrees with Yjs, so two pycrdt copies may differ, too.
# In the product: the room deletes such a character in all copies (protocol 8.8).
. "$(dirname "$0")/lib.sh"
install pycrdt==0.14.13
install_node yjs@13.6.33

run_node <<'JS'
import * as Y from 'yjs'
import fs from 'node:fs'
for (const [name, position] of [['first', 1], ['second', 2]]) {
  const writer = new Y.Doc()
  const text = writer.getText('text')
  text.insert(0, 'a😀bc')
  fs.writeFileSync(`${name}-start`, Y.encodeStateAsUpdate(writer))
  writer.on('update', update => fs.writeFileSync(`${name}-deletion`, update))
  text.delete(position, 1)
  fs.writeFileSync(`${name}-state`, Y.encodeStateAsUpdate(writer))
  const reader = new Y.Doc()
  for (const part of ['start', 'deletion']) Y.applyUpdate(reader, fs.readFileSync(`${name}-${part}`))
  console.log(`${name} half, yjs: ${JSON.stringify(text)}, other copy ${JSON.stringify(reader.getText('text'))}`)
}
JS
run_python <<'PY'
import json
from pathlib import Path
from pycrdt import Doc, Text

def read(*updates):
    doc = Doc()
    text = doc.get("text", type=Text)
    for update in updates:
        doc.apply_update(Path(update).read_bytes())
    return json.dumps(str(text), ensure_ascii=False)

for name in ("first", "second"):
    edited, loaded = read(f"{name}-start", f"{name}-deletion"), read(f"{name}-state")
    print(f"{name} half, pycrdt: {edited}, loaded from yjs {loaded}")
PY
expect <<'END'
first half, yjs: "a�bc", other copy "a�bc"
second half, yjs: "a�bc", other copy "a�bc"
first half, pycrdt: "abc", loaded from yjs "a�bc"
second half, pycrdt: "a😀c", loaded from yjs "a�bc"
END
