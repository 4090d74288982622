"""Whose turn it is to go on with a machine's stream, by docs/formats/claim.md alone.

usage: claims.py VAULT-FOLDER MACHINE

Reads the claims of all generations, believes those that may be believed, and prints them as JSON, with the instance that goes on
at once and those that have handed over for ever.
"""

import base64
import json
import os
import sys

from signed import believe

FENCERS = ("control", "applier", "master-target", "operator")


def read(name, stored, ca, vault, machine, generation, epoch):
    """A claim's payload, and its ticket's if it has one. ValueError: it is not believed."""
    try:
        doc, signer = believe(stored, ca, "farshore claim v1", "process-server", *FENCERS)
    except (KeyError, IndexError, TypeError) as damaged:
        raise ValueError("it cannot be read: %s" % damaged) from None
    if (doc["version"], doc["vault"], doc["machine"], doc["generation"], doc["epoch"]) != (1, vault, machine, generation, epoch):
        raise ValueError("it is another claim")
    role = signer.removeprefix("farshore://").split("/")[0]
    if doc.get("heir") and doc["role"] != "release":
        raise ValueError("only a release has an heir")
    if doc["role"] != "replication":
        if doc["role"] not in ("failover", "release") or role not in FENCERS:
            raise ValueError("%s may not make it" % signer)
        return doc, None
    sealed = json.dumps(doc["ticket"], separators=(",", ":")).encode() + b"\n"
    ticket, agent = believe(sealed, ca, "farshore ticket v1", "agent")
    if signer != "farshore://process-server/" + ticket["server"] or agent != "farshore://agent/" + machine or ticket["machine"] != machine:
        raise ValueError("its ticket is another's")
    if ticket.get("generation", 0) not in (0, generation) or not doc["keys"]:
        raise ValueError("its ticket is for another generation, or it has no key")
    return doc, ticket


def claims(root, machine):
    def document(name):
        with open(os.path.join(root, name), "rb") as f:
            return f.read()

    described = json.loads(document("points/v1/vault.json"))["signed"]
    ca, found, folder = base64.b64decode(described["ca"]), [], "points/v1/m/%s" % machine
    for g in sorted(d for d in os.listdir(os.path.join(root, folder)) if len(d) == 9 and d[0] == "g"):
        epoch = 1
        while True:
            name = "%s/%s/e%08x.json" % (folder, g, epoch)
            if not os.path.exists(os.path.join(root, name)):
                break  # behind a gap there is none
            one = {"generation": int(g[1:], 16), "epoch": epoch}
            try:
                doc, ticket = read(name, document(name), ca, described["vault"], machine, one["generation"], epoch)
                one["role"] = doc["role"]
                if doc.get("heir"):
                    one["heir"] = doc["heir"]
                if ticket:
                    one["instance"], one["session"] = ticket["instance"], ticket["session"]
            except ValueError as why:
                one["notBelieved"] = str(why)
            found.append(one)
            epoch += 1
    return found


def turn(found):
    """The instance that goes on at once, if it is one, and those that are refused for ever."""
    seen = [c for c in found if c.get("role") in ("replication", "release")]
    # A release in front of another one was taken back before anybody used it.
    counts = [c for i, c in enumerate(seen) if c["role"] == "release" and (i + 1 == len(seen) or seen[i + 1]["role"] == "replication")]
    last = seen[-1] if seen else None
    goes_on = last and (last["instance"] if last["role"] == "replication" else last.get("heir"))
    if last and last["role"] == "release" and not goes_on:  # taken back in favour of whoever wrote last
        goes_on = next((c["instance"] for c in reversed(seen) if c["role"] == "replication"), None)
    if found and next((c["role"] for c in reversed(found) if "role" in c), None) == "failover":
        goes_on = None  # fenced
    over = []
    for name in sorted({c["instance"] for c in seen if c["role"] == "replication"}):
        newest = max(i for i, c in enumerate(seen) if c.get("instance") == name)
        behind = [c["heir"] for c in counts if c.get("heir") and seen.index(c) > newest]
        if behind and behind[-1] != name:
            over.append(name)
    return goes_on, over


def main(root, machine):
    found = claims(root, machine)
    goes_on, over = turn(found)
    json.dump({"claims": found, "goesOn": goes_on, "handedOver": over}, sys.stdout)


main(*sys.argv[1:])
