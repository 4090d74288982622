"""A second reader of vaults, written from docs/formats alone, with nothing but Python's own library.

usage: restore.py VAULT-FOLDER KEY-FILE MACHINE POSITION OUT-FOLDER

Opens the data keys of a machine's epochs, follows its stream up to the position (g1.e2.s3), from the beginning of the
generation or, where that is gone, from the newest base, and writes each disk that is part of the point. It checks names,
hashes, order, LSNs, every frame, every chunk of a base, and who signed claims, cuts and manifests.
"""

import base64
import json
import os
import sys

from base import begin, order
from hybrid import PrivateKey
from reader import fail, read_segment
from signed import believe


def key_file(path):
    """The private keys of a key file, by their fingerprints, and the vault that they belong to."""
    keys, lines, vault = {}, None, ""
    with open(path) as f:
        for line in f.read().splitlines():
            if line.startswith("-----BEGIN FARSHORE"):
                lines, headers = [], {}
            elif line.startswith("-----END"):
                key = PrivateKey(base64.b64decode("".join(lines)))
                if key.fingerprint != headers["Id"]:
                    fail("the key is not the one that its file names")
                keys[key.fingerprint], vault = key, headers["Vault"]
            elif ": " in line:
                name, value = line.split(": ", 1)
                headers[name] = value
            elif line and lines is not None:
                lines.append(line)
    return keys, vault


class Vault:
    def __init__(self, root, keys, uuid):
        self.root, self.keys, self.uuid = root, keys, uuid
        described = self.document("points/v1/vault.json")
        if described["vault"] != uuid or described["version"] != 1:
            fail("the key belongs to another vault")
        self.ca = base64.b64decode(described["ca"])

    def names(self, folder):
        return os.listdir(os.path.join(self.root, folder))

    def get(self, name):
        try:
            with open(os.path.join(self.root, name), "rb") as f:
                return f.read()
        except FileNotFoundError:
            return None

    def document(self, name):
        """What a JSON document of the CA says."""
        return json.loads(self.get(name))["signed"]

    def sealed(self, machine, generation, epoch):
        """All that an epoch's data key was sealed to: in its claim, and later."""
        folder = "points/v1/m/%s/g%08x" % (machine, generation)
        claim, signer = believe(self.get("%s/e%08x.json" % (folder, epoch)), self.ca, "farshore claim v1", "process-server")
        if (claim["machine"], claim["generation"], claim["epoch"], claim["role"]) != (machine, generation, epoch, "replication"):
            fail("the claim of epoch %d" % epoch)
        ticket, agent = believe(json.dumps(claim["ticket"], separators=(",", ":")).encode() + b"\n", self.ca, "farshore ticket v1", "agent")
        if signer != "farshore://process-server/" + ticket["server"] or agent != "farshore://agent/" + machine or ticket["machine"] != machine:
            fail("the ticket of epoch %d" % epoch)
        later = [n for n in sorted(self.names(folder)) if n.startswith("e%08x.rewrap-" % epoch)]
        return claim["keys"] + [self.document(folder + "/" + name)["key"] for name in later]

    def data_key(self, machine, generation, epoch):
        about = "farshore data key v1 %s points/v1/m/%s/g%08x/e%08x.json" % (self.uuid, machine, generation, epoch)
        for s in self.sealed(machine, generation, epoch):
            key = self.keys.get(s["recipient"])
            if key is None:
                continue
            secret = key.open(base64.b64decode(s["encapsulated"]), base64.b64decode(s["sealed"]), b"farshore vault v1", about.encode())
            if secret is None:
                fail("the data key of epoch %d does not open" % epoch)
            return secret
        fail("the data key of epoch %d is sealed to none of the keys" % epoch)


def follow(vault, machine, generation, behind):
    """The segments of a generation behind a place, or from its beginning, in order, seals left out: (header, extents)."""
    epoch, seq, previous, last, keys = 1, 1, bytes(32).hex(), 0, {}
    if behind:
        _, epoch, seq = order(behind["position"])
        previous, last = behind["hash"], behind["lsn"]
        epoch, seq = (epoch + 1, 1) if behind.get("seal") else (epoch, seq + 1)
    while True:
        name = "journal/v1/m/%s/g%08x/e%08x/s%016x.fsj" % (machine, generation, epoch, seq)
        stored = vault.get(name)
        if stored is None:
            return
        header, digest, open_frames = read_segment(stored)
        at = "g%d.e%d.s%d" % (generation, epoch, seq)
        if (header["position"], header["machine"], header["vault"]) != (at, machine, vault.uuid.replace("-", "")):
            fail(name + " is another segment")
        if header["previous"] != previous:
            fail(name + " does not follow on the one in front")
        if header["firstLSN"] <= last or "jump" not in header["flags"] and header["firstLSN"] != last + 1:
            fail(name + " leaves records out")
        previous, last = digest, header["lastLSN"]
        if "seal" in header["flags"]:
            epoch, seq = epoch + 1, 1
            continue
        if epoch not in keys:
            keys[epoch] = vault.data_key(machine, generation, epoch)
        yield header, open_frames(keys[epoch])
        seq += 1


def apply(disks, header, extents):
    for d in header["disks"]:
        content = disks.setdefault(d["id"], bytearray())
        size = 512 * d["sectors"]
        del content[size:]  # what a disk loses is gone; what it gains is zero
        content.extend(bytes(size - len(content)))
    for e in extents:
        content = disks[header["disks"][e["disk"]]["id"]]
        at, size = 512 * e["start"], 512 * e["count"]
        content[at : at + size] = e["data"] if e["kind"] == "data" else bytes(size)


def main(root, key_path, machine, position, out):
    keys, uuid = key_file(key_path)
    vault = Vault(root, keys, uuid)
    disks, place = begin(vault, machine, position)
    found = place if place and place["position"] == position else None
    for header, extents in () if found else follow(vault, machine, order(position)[0], place):
        apply(disks, header, extents)
        if header["position"] == position:
            found = header
            break
    parts = [d for d in found["disks"] if not d.get("joining")] if found else []
    if not parts or not all(d.get("clean") for d in parts):
        fail("%s is no recovery point" % position)
    for d in parts:
        with open(os.path.join(out, d["id"] + ".raw"), "wb") as f:
            f.write(disks[d["id"]])


main(*sys.argv[1:])
