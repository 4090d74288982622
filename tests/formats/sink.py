"""What a master target keeps of its sinks, by docs/formats/sink.md and document.md alone.

usage: sink.py FILE...

Prints each file as JSON: sink.json, known, proof.json, run.json or floor.json.
"""

import base64
import json
import os
import re
import sys

from reader import crc32c, fail

FIELDS = [
    {"machine", "disk", "kind", "path", "identity", "name", "sectors", "state", "written", "equal", "signature"},
    {"position", "total", "compared", "different"},
    {"run"},
    {"floor"},
]


def document(stored):
    """The members of a document with a checksum."""
    found = re.match(rb'\{"checksum":"([0-9a-f]{8})"[,}]', stored)
    if not found or not stored.endswith(b"}\n") or stored.count(b"\n") != 1:
        fail("it is no document with a checksum")
    blank = stored[: found.start(1)] + b"00000000" + stored[found.end(1) :]
    if crc32c(blank) != int(found[1], 16):
        fail("checksum")
    members = json.loads(stored)
    del members["checksum"]
    return members


def known(stored):
    """The numbers of the granules that are known, and how many there are."""
    n = int.from_bytes(stored[8:16], "little")
    size = 16 + -(-n // 8)
    if len(stored) != size + 4 or stored[:8] != b"FSKNOWN\1":
        fail("it is no list of known granules, or of another length than it says")
    if crc32c(stored[:size]) != int.from_bytes(stored[size:], "little"):
        fail("checksum")
    return {"granules": n, "known": [g for g in range(n) if stored[16 + g // 8] >> g % 8 & 1]}


def explain(stored):
    if stored[:7] == b"FSKNOWN":
        return known(stored)
    members = document(stored)
    if members.pop("version") != 1:
        fail("version")
    if not any(members and set(members) <= fields for fields in FIELDS):
        fail("it is none of a master target's documents")
    if "kind" in members:
        members["state"] = base64.b64decode(members.get("state", "")).decode()
    return members


def main(*paths):
    said = {}
    for path in paths:
        with open(path, "rb") as f:
            said[os.path.basename(path)] = explain(f.read())
    json.dump(said, sys.stdout)


main(*sys.argv[1:])
