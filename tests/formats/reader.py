"""A second reader of segments, written from docs/formats/segment.md alone, with nothing but Python's own library.

usage: reader.py FILE DATAKEY-HEX

Checks everything that the specification says can be checked and prints the header and the extents as JSON, the data as
SHA-256. It is slow, and exists to prove that the specification is enough.
"""

import hashlib
import hmac
import json
import struct
import sys


def fail(what):
    sys.exit("damaged: " + what)


# AES-256 and GCM, from FIPS 197 and SP 800-38D.


def xtime(a):
    return ((a << 1) ^ 0x11B) & 0xFF if a & 0x80 else a << 1


def make_sbox():
    # Walk the field by the generator 3 and its inverse, 0xf6.
    box, p, q = [0] * 256, 1, 1
    while True:
        p = p ^ xtime(p)
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        x = q
        for shift in (1, 2, 3, 4):
            x ^= ((q << shift) | (q >> (8 - shift))) & 0xFF
        box[p] = x ^ 0x63
        if p == 1:
            break
    box[0] = 0x63
    return box


SBOX = make_sbox()
# One table for each byte of a column: SubBytes and MixColumns at once.
TABLE = [[], [], [], []]
for s in SBOX:
    word = (xtime(s) << 24) | (s << 16) | (s << 8) | (xtime(s) ^ s)
    for i in range(4):
        TABLE[i].append(word)
        word = ((word >> 8) | (word << 24)) & 0xFFFFFFFF


def sub_word(w):
    return (SBOX[w >> 24] << 24) | (SBOX[(w >> 16) & 255] << 16) | (SBOX[(w >> 8) & 255] << 8) | SBOX[w & 255]


class AES256:
    def __init__(self, key):
        w = list(struct.unpack(">8I", key))
        rcon = 1
        for i in range(8, 60):
            t = w[i - 1]
            if i % 8 == 0:
                t = sub_word(((t << 8) | (t >> 24)) & 0xFFFFFFFF) ^ (rcon << 24)
                rcon = xtime(rcon)
            elif i % 8 == 4:
                t = sub_word(t)
            w.append(w[i - 8] ^ t)
        self.w = w

    def block(self, data):
        w, t0, t1, t2, t3 = self.w, *TABLE
        s = [a ^ b for a, b in zip(struct.unpack(">4I", data), w)]
        for r in range(4, 56, 4):
            s = [
                t0[s[i] >> 24] ^ t1[(s[(i + 1) & 3] >> 16) & 255] ^ t2[(s[(i + 2) & 3] >> 8) & 255] ^ t3[s[(i + 3) & 3] & 255] ^ w[r + i]
                for i in range(4)
            ]
        out = [
            sub_word((s[i] & 0xFF000000) | (s[(i + 1) & 3] & 0xFF0000) | (s[(i + 2) & 3] & 0xFF00) | (s[(i + 3) & 3] & 0xFF)) ^ w[56 + i]
            for i in range(4)
        ]
        return struct.pack(">4I", *out)


class GCM:
    def __init__(self, key):
        self.aes = AES256(key)
        h = int.from_bytes(self.aes.block(bytes(16)), "big")
        # Products of h with every value of each byte, so that a multiplication is sixteen look-ups.
        powers, v = [], h
        for _ in range(128):
            powers.append(v)
            v = (v >> 1) ^ (0xE1 << 120 if v & 1 else 0)
        self.tables = []
        for place in range(16):
            table = [0] * 256
            for value in range(1, 256):
                low = value & -value
                table[value] = table[value ^ low] ^ powers[8 * place + 7 - low.bit_length() + 1]
            self.tables.append(table)

    def ghash(self, additional, text):
        def padded(b):
            return b + bytes(-len(b) % 16)

        y = 0
        data = padded(additional) + padded(text) + struct.pack(">QQ", 8 * len(additional), 8 * len(text))
        for at in range(0, len(data), 16):
            y ^= int.from_bytes(data[at : at + 16], "big")
            product = 0
            for table, byte in zip(self.tables, y.to_bytes(16, "big")):
                product ^= table[byte]
            y = product
        return y.to_bytes(16, "big")

    def open(self, nonce, stored, additional):
        text, tag = stored[:-16], stored[-16:]
        mask = self.aes.block(nonce + struct.pack(">I", 1))
        want = bytes(a ^ b for a, b in zip(self.ghash(additional, text), mask))
        if not hmac.compare_digest(want, tag):
            return None
        stream = b"".join(self.aes.block(nonce + struct.pack(">I", 2 + i)) for i in range((len(text) + 15) // 16))
        return bytes(a ^ b for a, b in zip(text, stream))


def hkdf(secret, salt, info):
    prk = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def lz4_block(src, size):
    out, at = bytearray(), 0
    while at < len(src):
        token = src[at]
        at += 1
        n = token >> 4
        if n == 15:
            while True:
                n += src[at]
                at += 1
                if src[at - 1] != 255:
                    break
        out += src[at : at + n]
        at += n
        if at >= len(src):
            break
        offset = src[at] | src[at + 1] << 8
        at += 2
        n = token & 15
        if n == 15:
            while True:
                n += src[at]
                at += 1
                if src[at - 1] != 255:
                    break
        for _ in range(n + 4):
            out.append(out[-offset])
    if len(out) != size:
        fail("a frame decompresses to %d bytes, not %d" % (len(out), size))
    return bytes(out)


FLAGS = ["copy", "jump", "seal", "marker", "suspect"]


def read_header(b):
    if b[:8] != bytes.fromhex("8946534a0d0a1a0a"):
        fail("magic")
    version, flags, length = struct.unpack("<HHI", b[8:16])
    if version != 1 or flags >> len(FLAGS):
        fail("version or flags")
    if crc32c(b[: length - 4]) != struct.unpack("<I", b[length - 4 : length])[0]:
        fail("checksum of the header")
    generation, epoch, seq = struct.unpack("<IIQ", b[32:48])
    first, last, boot_first, boot_last, utc = struct.unpack("<QQQQq", b[80:120])
    consistency, m, n, disks = b[152:156]
    at = 160 + m + n
    header = {
        "vault": b[16:32].hex(),
        "machine": b[160 : 160 + m].decode(),
        "position": "g%d.e%d.s%d" % (generation, epoch, seq),
        "previous": b[48:80].hex(),
        "firstLSN": first,
        "lastLSN": last,
        "bootFirst": boot_first,
        "bootLast": boot_last,
        "utc": utc,
        "flags": [name for i, name in enumerate(FLAGS) if flags >> i & 1],
        "consistency": ["", "crash", "app"][consistency],
        "label": b[160 + m : at].decode(),
        "disks": [],
    }
    for _ in range(disks):
        sectors, bits, n = struct.unpack("<QBB", b[at : at + 10])
        header["disks"].append({"id": b[at + 10 : at + 10 + n].decode(), "sectors": sectors, "clean": bool(bits & 1), "joining": bool(bits & 2)})
        at += 10 + n
    if at != length - 4:
        fail("length of the header")
    return header, length


def read_body(body, disks, extents):
    count = struct.unpack("<H", body[:2])[0]
    at = 2 + 16 * count
    for i in range(count):
        start, n, disk, kind, reserved = struct.unpack("<QIHBB", body[2 + 16 * i : 18 + 16 * i])
        if extents and (disk, start) < (extents[-1]["disk"], extents[-1]["start"] + extents[-1]["count"]):
            fail("order of the extents")
        if n == 0 or kind > 2 or reserved or start + n > disks[disk]["sectors"]:
            fail("an extent")
        size = 512 * n if kind == 0 else 0
        extents.append({"disk": disk, "start": start, "count": n, "kind": ["data", "zero", "unspecified"][kind], "data": body[at : at + size]})
        at += size
    if at != len(body):
        fail("length of a body")


def read_segment(b):
    """Checks what needs no key. Gives the header, the hash, and what reads the frames with the epoch's data key."""
    header, length = read_header(b)
    trailer = b[-64:]
    frames, index = struct.unpack("<II", trailer[:8])
    if trailer[24:32] != bytes.fromhex("46534a00656e640a") or hashlib.sha256(b[:-32]).digest() != trailer[32:]:
        fail("end or hash")
    if index + 12 * frames != len(b) - 64:
        fail("place of the index")

    def open_frames(key):
        extents = []
        gcm = GCM(hkdf(key, b[120:152], b"farshore segment v1"))
        bind = hashlib.sha256(b[:length]).digest()
        if gcm.open(bytes(8) + b"\xff" * 4, trailer[8:24], bind + struct.pack("<I", frames)) is None:
            fail("the header does not authenticate")
        at = length
        for i in range(frames):
            stored, size, codec = struct.unpack("<IIB", b[index + 12 * i : index + 12 * i + 9])
            additional = bind + struct.pack("<IBI", i, codec, size)
            plain = gcm.open(bytes(8) + struct.pack(">I", i), b[at : at + stored], additional)
            if plain is None:
                fail("frame %d does not authenticate" % i)
            read_body(lz4_block(plain, size) if codec else plain, header["disks"], extents)
            at += stored
        if at != index:
            fail("end of the frames")
        return extents

    return header, trailer[32:].hex(), open_frames


def main(path, key):
    with open(path, "rb") as f:
        header, digest, open_frames = read_segment(f.read())
    extents = [] if "seal" in header["flags"] else open_frames(bytes.fromhex(key))
    for e in extents:
        data = e.pop("data")
        if e["kind"] == "data":
            e["sha256"] = hashlib.sha256(data).hexdigest()
    json.dump({"header": header, "hash": digest, "extents": extents}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
