"""A second reader of indexes, by docs/formats/index.md alone.

usage: index.py VAULT-FOLDER MACHINE

Believes each index by its signature, takes its headers apart, compares them and the hashes with the segments that still stand in
the vault, and prints for each segment its LSN, time, flags and hash as JSON.
"""

import base64
import glob
import json
import os
import sys

from reader import fail, read_header, read_segment
from signed import believe


def explain(name, stored, ca, vault, machine):
    doc, _ = believe(stored, ca, "farshore index v1", "collector", "applier")
    place = "points/v1/m/%s/g%08x/index-e%08x-s%016x.json" % (machine, doc["generation"], doc["epoch"], doc["first"])
    if (doc["version"], doc["vault"], doc["machine"], place) != (1, vault, machine, name) or not 1 <= len(doc["headers"]) <= 720:
        fail(name + " is another index")
    headers = []
    for i, text in enumerate(doc["headers"]):
        raw = base64.b64decode(text)
        header, length = read_header(raw)
        if length != len(raw) or header["position"] != "g%d.e%d.s%d" % (doc["generation"], doc["epoch"], doc["first"] + i) or header["machine"] != machine:
            fail("header %d of %s" % (i, name))
        headers.append((header, raw))
    hashes = [h["previous"] for h, _ in headers[1:]] + [doc["hash"]]
    return doc, headers, hashes


def main(root, machine):
    with open(os.path.join(root, "points/v1/vault.json"), "rb") as f:
        described = json.load(f)["signed"]
    said = []
    for path in sorted(glob.glob(os.path.join(root, "points/v1/m", machine, "g*", "index-*.json"))):
        with open(path, "rb") as f:
            doc, headers, hashes = explain(os.path.relpath(path, root), f.read(), base64.b64decode(described["ca"]), described["vault"], machine)
        for i, ((header, raw), digest) in enumerate(zip(headers, hashes)):
            segment = "journal/v1/m/%s/g%08x/e%08x/s%016x.fsj" % (machine, doc["generation"], doc["epoch"], doc["first"] + i)
            if os.path.exists(os.path.join(root, segment)):
                with open(os.path.join(root, segment), "rb") as f:
                    stored = f.read()
                if not stored.startswith(raw) or read_segment(stored)[1] != digest:
                    fail("%s is not the segment that the index has seen" % segment)
            said.append({"position": header["position"], "lsn": header["lastLSN"], "utc": header["utc"], "flags": header["flags"], "hash": digest})
    json.dump(said, sys.stdout)


main(*sys.argv[1:])
