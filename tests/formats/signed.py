"""Signed documents of a vault, written from docs/formats/claim.md, control.md and vault.md alone.

A certificate is taken apart only as far as belief needs it: who it names, its key, who signed it. Times of certificates are
not judged: documents are read long after.
"""

import base64
import hashlib
import json

# P-256, from FIPS 186 and SEC 1.
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
A = P - 3
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def add(p, q):
    if p is None or q is None:
        return p or q
    if p[0] == q[0]:
        if (p[1] + q[1]) % P == 0:
            return None
        slope = (3 * p[0] * p[0] + A) * pow(2 * p[1], -1, P)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P)
    x = (slope * slope - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


def times(k, p):
    total = None
    while k:
        if k & 1:
            total = add(total, p)
        p, k = add(p, p), k >> 1
    return total


def verify(key, message, signature):
    """ECDSA with SHA-256, the signature in ASN.1."""
    r, s = (int.from_bytes(v, "big") for _, v, _ in items(items(signature)[0][1]))
    if not (0 < r < N and 0 < s < N):
        return False
    w = pow(s, -1, N)
    e = int.from_bytes(hashlib.sha256(message).digest(), "big")
    at = add(times(e * w % N, G), times(r * w % N, key))
    return at is not None and at[0] % N == r


def items(b):
    """DER: the elements that stand in b, each as (tag, content, all of its bytes)."""
    found = []
    while b:
        n, at = b[1], 2
        if n & 0x80:
            at = 2 + (n & 0x7F)
            n = int.from_bytes(b[2:at], "big")
        if len(b) < at + n:
            raise ValueError("DER breaks off")
        found.append((b[0], b[at : at + n], b[: at + n]))
        b = b[at + n :]
    return found


class Certificate:
    def __init__(self, der):
        (_, whole, _), = items(der)
        (_, tbs, self.signed), _, (_, bits, _) = items(whole)
        self.signature = bits[1:]
        fields = items(tbs)
        if fields[0][0] == 0xA0:  # version
            fields = fields[1:]
        key = items(fields[5][1])[1][1]
        if key[:2] != b"\x00\x04" or len(key) != 66:
            raise ValueError("no key of P-256")
        self.key = int.from_bytes(key[2:34], "big"), int.from_bytes(key[34:], "big")
        self.name = ""
        for tag, extensions, _ in fields[6:]:
            for _, extension, _ in items(items(extensions)[0][1]) if tag == 0xA3 else []:
                parts = items(extension)
                if parts[0][1] == bytes([0x55, 0x1D, 0x11]):  # subject alternative name
                    names = items(items(parts[-1][1])[0][1])
                    self.name = "".join(v.decode() for t, v, _ in names if t == 0x86)


def believe(stored, ca, domain, *roles):
    """The payload of a document and who signed it, if the CA stands behind him and he may. Else the reason, as ValueError."""
    doc = json.loads(stored)
    if set(doc) != {"payload", "signature"} or set(doc["signature"]) != {"chain", "value"}:
        raise ValueError("it is not written as signed documents are")
    again = json.dumps(doc, separators=(",", ":")).encode() + b"\n"
    payload = base64.b64decode(doc["payload"])
    if again != stored or base64.b64encode(payload).decode() != doc["payload"]:
        raise ValueError("it is not written as signed documents are")
    chain = [Certificate(base64.b64decode(c)) for c in doc["signature"]["chain"]]
    for one, above in zip(chain, chain[1:] + [Certificate(ca)]):
        if not verify(above.key, one.signed, one.signature):
            raise ValueError("the vault's CA does not stand behind %s" % one.name)
    tag = domain.encode()
    message = b"farshore signature v1\0" + len(tag).to_bytes(8, "big") + tag + payload
    if not verify(chain[0].key, message, base64.b64decode(doc["signature"]["value"])):
        raise ValueError("the signature is not that of %s" % chain[0].name)
    role = chain[0].name.removeprefix("farshore://").split("/")[0]
    if role not in roles:
        raise ValueError("%s may not sign it" % chain[0].name)
    return json.loads(payload), chain[0].name
