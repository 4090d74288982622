"""Where a point can be restored from when the beginning of its generation is gone: docs/formats/layout.md, retention.md,
manifest.md. Cuts and manifests are believed by their signatures."""

import hashlib
import os
import re

from reader import fail
from signed import believe

CHUNK = 4 << 20


def order(position):
    """A position as numbers that sort as the stream does."""
    return tuple(int(n) for n in re.fullmatch(r"g(\d+)\.e(\d+)\.s(\d+)", position).groups())


class Cut:
    """The newest cut of a generation that is believed; without one nothing is gone."""

    def __init__(self, vault, machine, generation):
        self.horizon, self.bases, self.spans = None, [], []
        folder = "points/v1/m/%s/g%08x/" % (machine, generation)
        for name in sorted(n for n in vault.names(folder) if n.startswith("cut-")):
            try:
                doc, _ = believe(vault.get(folder + name), vault.ca, "farshore cut v1", "collector")
            except ValueError:
                continue
            if (doc["vault"], doc["machine"], doc["generation"], folder + name) != (vault.uuid, machine, generation, folder + "cut-%08x.json" % doc["number"]):
                continue
            if doc.get("whole"):
                fail("nothing of the generation is there any more")
            self.horizon, self.bases = doc["horizon"], doc.get("bases") or []
            self.spans = [(order(s["behind"]), order(s["to"])) for s in doc.get("spans") or []]

    def reaches(self, base, position):
        """Whether every segment behind a base, up to a position, is there by what the cut says."""
        if self.horizon is None or order(base) >= order(self.horizon["position"]):
            return True
        if base not in self.bases:
            return False
        return base == position or any(behind <= order(base) and order(position) <= to for behind, to in self.spans)


def manifests(vault, machine, generation):
    """The manifests of a generation that are believed, by position."""
    folder, found = "points/v1/m/%s/g%08x/" % (machine, generation), {}
    for name in sorted(n for n in vault.names(folder) if n.startswith("manifest-")):
        stored = vault.get(folder + name)
        doc, _ = believe(stored, vault.ca, "farshore recovery-point manifest v1", "applier", "master-target")
        at = order(doc["at"]["position"])
        if (doc["vault"], doc["machine"], at[0]) != (vault.uuid, machine, generation) or name != "manifest-e%08x-s%016x.json" % at[1:]:
            fail(folder + name + " is the manifest of another point")
        before = doc.get("previous")
        there = vault.get(before["name"]) if before else None
        if there is not None and hashlib.sha256(there).hexdigest() != before["hash"]:
            fail("the manifest in front of %s is not the one that it follows" % name)
        found[doc["at"]["position"]] = doc
    return found


def chunk_list(vault, machine, doc, disk):
    """The hashes of a disk's chunks, None for one of zeros."""
    name = "points/v1/m/%s/g%08x/chunks-e%08x-s%016x-%s.fsc" % ((machine,) + order(doc["at"]["position"]) + (disk["disk"],))
    b = vault.get(name)
    if b is None or hashlib.sha256(b).hexdigest() != disk["chunks"]:
        fail(name + " is not the list that the manifest names")
    n = -(-disk["sectors"] * 512 // CHUNK)
    if b[:8] != b"FSCL\1\0\0\0" or int.from_bytes(b[8:16], "little") != disk["sectors"] or hashlib.sha256(b[:-32]).digest() != b[-32:]:
        fail(name + " is damaged")
    bits, at, hashes = b[16 : 16 + -(-n // 8)], 16 + -(-n // 8), []
    for i in range(n):
        if bits[i // 8] >> i % 8 & 1:
            hashes.append(None)
        else:
            hashes.append(b[at : at + 32])
            at += 32
    if at != len(b) - 32 or int.from_bytes(bits, "little") >> n:
        fail(name + " has another length than it says")
    return hashes


def content(vault, machine, doc, disk):
    """What a disk holds at a base, every chunk proven."""
    side = ".disks/v1/m/%s/g%08x/%s.vhd/%s.snapshot" % (machine, order(doc["at"]["position"])[0], disk["disk"], disk["snapshot"])
    frozen = vault.get(side)
    if frozen is None or len(frozen) < 512 * disk["sectors"]:
        fail(side + " is gone")
    made = bytearray()
    for i, want in enumerate(chunk_list(vault, machine, doc, disk)):
        chunk = frozen[i * CHUNK : min((i + 1) * CHUNK, 512 * disk["sectors"])]
        if want is None:
            chunk = bytes(len(chunk))
        elif hashlib.sha256(chunk).digest() != want:
            fail("chunk %d of disk %s at %s is not what the manifest vouches for" % (i, disk["disk"], doc["at"]["position"]))
        made += chunk
    return made


def begin(vault, machine, position):
    """Where to begin for a position: the content of the disks there, and the place in the stream; None for the start of the
    generation."""
    generation = order(position)[0]
    cut = Cut(vault, machine, generation)
    if cut.horizon is None:
        return {}, None
    known = manifests(vault, machine, generation)
    usable = [p for p in known if order(p) <= order(position) and cut.reaches(p, position)]
    if not usable:
        fail("%s cannot be restored any more" % position)
    doc = known[max(usable, key=order)]
    return {d["disk"]: content(vault, machine, doc, d) for d in doc["disks"]}, doc["at"]
