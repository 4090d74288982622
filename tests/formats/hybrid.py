"""HPKE's side of the second reader: opens what was sealed to a vault's private key, with nothing but Python's own library.

From FIPS 203 (ML-KEM-768), RFC 7748 (X25519), the X-Wing draft (their hybrid, KEM 0x647a) and RFC 9180 (HPKE, base mode).
It is slow and takes no care of timing: it exists to prove that docs/formats/vault.md is enough.
"""

import hashlib
import hmac
import struct

from reader import GCM

Q, N, K = 3329, 256, 3
ETA, DU, DV = 2, 10, 4


def bit_reverse(i):
    return int("{:07b}".format(i)[::-1], 2)


ZETAS = [pow(17, bit_reverse(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * bit_reverse(i) + 1, Q) for i in range(128)]


def ntt(f):
    f, i, size = list(f), 1, 128
    while size >= 2:
        for start in range(0, N, 2 * size):
            zeta = ZETAS[i]
            i += 1
            for j in range(start, start + size):
                t = zeta * f[j + size] % Q
                f[j + size] = (f[j] - t) % Q
                f[j] = (f[j] + t) % Q
        size //= 2
    return f


def inverse_ntt(f):
    f, i, size = list(f), 127, 2
    while size <= 128:
        for start in range(0, N, 2 * size):
            zeta = ZETAS[i]
            i -= 1
            for j in range(start, start + size):
                t = f[j]
                f[j] = (t + f[j + size]) % Q
                f[j + size] = zeta * (f[j + size] - t) % Q
        size *= 2
    return [x * 3303 % Q for x in f]


def multiply(f, g):
    h = []
    for i in range(128):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        h += [(a0 * b0 + a1 * b1 % Q * GAMMAS[i]) % Q, (a0 * b1 + a1 * b0) % Q]
    return h


def add(f, g):
    return [(a + b) % Q for a, b in zip(f, g)]


def dot(fs, gs):
    total = [0] * N
    for f, g in zip(fs, gs):
        total = add(total, multiply(f, g))
    return total


def bits(data):
    return [byte >> i & 1 for byte in data for i in range(8)]


def encode(f, d):
    n = 0
    for i, x in enumerate(f):
        n |= x << (d * i)
    return n.to_bytes(32 * d, "little")


def decode(data, d):
    n = int.from_bytes(data, "little")
    return [n >> (d * i) & ((1 << d) - 1) for i in range(N)]


def compress(f, d):
    return [((x << d) + Q // 2) // Q & ((1 << d) - 1) for x in f]


def decompress(f, d):
    return [(x * Q + (1 << (d - 1))) >> d for x in f]


def sample_ntt(seed):
    stream, out, at = hashlib.shake_128(seed).digest(168 * 12), [], 0
    while len(out) < N:
        a, b, c = stream[at : at + 3]
        at += 3
        for x in (a + 256 * (b % 16), b // 16 + 16 * c):
            if x < Q and len(out) < N:
                out.append(x)
    return out


def sample_cbd(seed, nonce):
    b = bits(hashlib.shake_256(seed + bytes([nonce])).digest(64 * ETA))
    return [(sum(b[4 * i : 4 * i + 2]) - sum(b[4 * i + 2 : 4 * i + 4])) % Q for i in range(N)]


def matrix(rho):
    return [[sample_ntt(rho + bytes([j, i])) for j in range(K)] for i in range(K)]


def keygen(d):
    seed = hashlib.sha3_512(d + bytes([K])).digest()
    rho, sigma = seed[:32], seed[32:]
    a = matrix(rho)
    s = [ntt(sample_cbd(sigma, i)) for i in range(K)]
    e = [ntt(sample_cbd(sigma, K + i)) for i in range(K)]
    t = [add(dot(a[i], s), e[i]) for i in range(K)]
    return b"".join(encode(p, 12) for p in t) + rho, s


def encrypt(public, message, r):
    t = [decode(public[384 * i : 384 * (i + 1)], 12) for i in range(K)]
    a = matrix(public[384 * K :])
    y = [ntt(sample_cbd(r, i)) for i in range(K)]
    u = [add(inverse_ntt(dot([a[j][i] for j in range(K)], y)), sample_cbd(r, K + i)) for i in range(K)]
    v = add(inverse_ntt(dot(t, y)), sample_cbd(r, 2 * K))
    v = add(v, decompress(decode(message, 1), 1))
    return b"".join(encode(compress(p, DU), DU) for p in u) + encode(compress(v, DV), DV)


def decapsulate(d, z, ciphertext):
    public, s = keygen(d)
    u = [decompress(decode(ciphertext[320 * i : 320 * (i + 1)], DU), DU) for i in range(K)]
    v = decompress(decode(ciphertext[960:], DV), DV)
    w = [(a - b) % Q for a, b in zip(v, inverse_ntt(dot(s, [ntt(p) for p in u])))]
    message = encode(compress(w, 1), 1)
    seed = hashlib.sha3_512(message + hashlib.sha3_256(public).digest()).digest()
    if encrypt(public, message, seed[32:]) != ciphertext:
        return hashlib.shake_256(z + ciphertext).digest(32)
    return seed[:32]


P25519 = 2**255 - 19


def x25519(scalar, point):
    k = int.from_bytes(scalar, "little") & ~7 & (1 << 255) - 1 | 1 << 254
    x1 = (int.from_bytes(point, "little") & (1 << 255) - 1) % P25519
    x2, z2, x3, z3 = 1, 0, x1, 1
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a, c * b, a * a, b * b
        x3, z3 = (da + cb) ** 2 % P25519, x1 * (da - cb) ** 2 % P25519
        x2, z2 = aa * bb % P25519, (aa - bb) * (aa + 121665 * (aa - bb)) % P25519
        if bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
    return (x2 * pow(z2, P25519 - 2, P25519) % P25519).to_bytes(32, "little")


class PrivateKey:
    """X-Wing's, out of its 32-byte seed."""

    def __init__(self, seed):
        wide = hashlib.shake_256(seed).digest(96)
        self.d, self.z, self.x = wide[:32], wide[32:64], wide[64:]
        self.own = x25519(self.x, (9).to_bytes(32, "little"))
        self.public = keygen(self.d)[0] + self.own
        self.fingerprint = hashlib.sha256(self.public).digest()[:16].hex()

    def shared(self, encapsulated):
        post, point = encapsulated[:1088], encapsulated[1088:]
        parts = decapsulate(self.d, self.z, post) + x25519(self.x, point) + point + self.own
        return hashlib.sha3_256(parts + rb"\.//^" + b"\\").digest()

    def open(self, encapsulated, sealed, info, about):
        """HPKE's Open in base mode: HKDF-SHA256, AES-256-GCM, the first message. None if it does not open."""
        suite = b"HPKE" + struct.pack(">HHH", 0x647A, 0x0001, 0x0002)

        def extract(salt, label, secret):
            return hmac.new(salt, b"HPKE-v1" + suite + label + secret, hashlib.sha256).digest()

        def expand(key, label, text, length):
            text = struct.pack(">H", length) + b"HPKE-v1" + suite + label + text
            return hmac.new(key, text + b"\x01", hashlib.sha256).digest()[:length]

        context = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
        secret = extract(self.shared(encapsulated), b"secret", b"")
        return GCM(expand(secret, b"key", context, 32)).open(expand(secret, b"base_nonce", context, 12), sealed, about)
