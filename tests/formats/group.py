"""The points that machines share, by docs/formats/group.md alone.

usage: group.py VAULT-FOLDER GROUP

Reads the points of a group, believes those that may be believed, looks at the marker segment of each member, and prints them as JSON,
oldest first, with what is wrong with those that are not believed.
"""

import base64
import json
import os
import re
import sys

from reader import read_segment
from signed import believe

METHODS, CONSISTENCIES = ("freeze",), ("crash", "app")


def part(member, ca, group, number, leader):
    sealed = json.dumps(member["part"], separators=(",", ":")).encode() + b"\n"
    p, signer = believe(sealed, ca, "farshore group part v1", "agent")
    if signer != "farshore://agent/" + member["machine"] or p["machine"] != member["machine"]:
        raise ValueError("the part of machine %s is another's" % member["machine"])
    if (p["version"], p["group"], p["round"], p["leader"]) != (1, group, number, leader):
        raise ValueError("the part of machine %s is of another round" % member["machine"])
    if p["method"] not in METHODS or p["consistency"] not in CONSISTENCIES or not re.fullmatch("g[1-9][0-9]*[.]e[1-9][0-9]*[.]s[1-9][0-9]*", p["position"]):
        raise ValueError("the part of machine %s says what no part says" % member["machine"])
    return p


def marker(root, p):
    """What is wrong with the marker segment of a part; None: nothing."""
    g, e, s = (int(n[1:]) for n in p["position"].split("."))
    try:
        with open(os.path.join(root, "journal/v1/m/%s/g%08x/e%08x/s%016x.fsj" % (p["machine"], g, e, s)), "rb") as f:
            header, digest, _ = read_segment(f.read())
    except FileNotFoundError:
        return "%s of machine %s is gone" % (p["position"], p["machine"])
    clean = all(d.get("clean") or d.get("joining") for d in header["disks"])
    if digest != p["hash"] or "seal" in header["flags"] or not clean:
        return "%s of machine %s is another segment" % (p["position"], p["machine"])
    return None


def ordered(machines):
    return all(a < b for a, b in zip(machines, machines[1:]))


def read(root, name, ca, group, number):
    with open(os.path.join(root, name), "rb") as f:
        stored = f.read()
    if len(stored) > 256 << 10:
        raise ValueError("it is too large")
    doc, signer = believe(stored, ca, "farshore group point v1", "agent")
    if (doc["version"], doc["group"], doc["round"]) != (1, group, number):
        raise ValueError("it is another point")
    leader = signer.removeprefix("farshore://agent/")
    members, missing = [m["machine"] for m in doc["members"]], [m["machine"] for m in doc.get("missing", [])]
    if not 2 <= len(members) <= 32 or len(missing) > 32 or not ordered(members) or not ordered(missing):
        raise ValueError("its machines are not in order")
    if leader not in members or set(members) & set(missing):
        raise ValueError("its leader is no member, or a member is missing")
    parts = [part(m, ca, group, number, leader) for m in doc["members"]]
    wrong = [w for w in (marker(root, p) for p in parts) if w]
    return {
        "round": number,
        "leader": leader,
        "members": {p["machine"]: p["position"] for p in parts},
        "missing": {m["machine"]: m["why"] for m in doc.get("missing", [])},
        "lost": "; ".join(wrong),
    }


def main(root, group):
    with open(os.path.join(root, "points/v1/vault.json"), "rb") as f:
        ca = base64.b64decode(json.load(f)["signed"]["ca"])
    found, folder = [], "points/v1/g/" + group
    for name in sorted(os.listdir(os.path.join(root, folder))):
        form = re.fullmatch("p([0-9a-f]{16})[.]json", name)
        if not form:
            continue
        number = int(form[1], 16)
        try:
            found.append(read(root, folder + "/" + name, ca, group, number))
        except (ValueError, KeyError, TypeError, IndexError) as wrong:
            found.append({"round": number, "wrong": str(wrong)})
    json.dump(found, sys.stdout)


main(*sys.argv[1:])
