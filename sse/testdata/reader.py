#!/usr/bin/env python3
"""A second reader of the waxseal object format, written from FORMAT.md alone.

    reader.py DIRECTORY     opens every *.json in it and compares; then changes
                            bytes of each and expects a refusal
"""
import base64
import hashlib
import json
import pathlib
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SEGMENT, HEADER, TAG = 65536, 40, 16
MANIFEST, COMPRESSED, BUCKET_KEY, SIZE, HEADERS, VISIBLE, FACTS, TAG_MD5, TAG_PARTS = (1 << i for i in range(9))
ALGORITHM, COMPOSITE = 0x0200, 0x2000
CHECKSUM_SIZES = {1: 4, 2: 4, 3: 8, 4: 20, 5: 32, 6: 64, 7: 16, 8: 8, 9: 8, 10: 16}


class Refused(Exception):
    pass


def need(ok, what):
    if not ok:
        raise Refused(what)


# Section 1

def hkdf(ikm, salt, info):
    return HKDF(hashes.SHA256(), 32, salt, info).derive(ikm)


def open_gcm(key, nonce, aad, sealed, what):
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except (InvalidTag, ValueError):
        raise Refused(what) from None


def open_box(key, aad, sealed, what):
    return open_gcm(key, bytes(12), aad, sealed, what)


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def aad(*fields):
    return b"".join(varint(len(f)) + f for f in fields)


class Fields:
    def __init__(self, b):
        self.b, self.at = b, 0

    def take(self, n):
        need(self.at + n <= len(self.b), "cut short")
        self.at += n
        return self.b[self.at - n:self.at]

    def u(self, n):
        return int.from_bytes(self.take(n), "big")

    def varint(self):
        n = shift = 0
        while True:
            c = self.u(1)
            n |= (c & 127) << shift
            shift += 7
            if c < 128:
                need(c or shift == 7, "varint is not in its shortest form")
                return n
            need(shift < 63, "varint too long")

    def bytes(self):
        return self.take(self.varint())

    def end(self):
        need(self.at == len(self.b), "bytes too many")


def commitment(secret):
    return hkdf(secret, b"", b"waxseal/v1/commit")


# Section 3

def segments(n):
    return max(1, -(-(n + 40) // 65520))


def ciphertext_size(n):
    return n + 40 + 16 * segments(n)


def plaintext_size(c):
    n = c - 40 - 16 * -(-c // SEGMENT)
    need(c >= 56 and ciphertext_size(n) == c, "no stream has this size")
    return n


# Section 2

def open_stream(key, label, number, header, n, sealed):
    """All n bytes of plaintext of one stream."""
    need(len(sealed) == ciphertext_size(n), "size of a stream")
    need(sealed[0] == 0x28 and sealed[1:HEADER] == header, "header of a stream")
    salt, prefix = header[:32], header[32:]
    key = hkdf(key, salt, label + struct.pack(">I", number))
    out, k = [], segments(n)
    for i in range(k):
        begin = HEADER if i == 0 else i * SEGMENT
        nonce = prefix + struct.pack(">I", i) + bytes([i == k - 1])
        out.append(open_gcm(key, nonce, None, sealed[begin:(i + 1) * SEGMENT], f"segment {i}"))
    plain = b"".join(out)
    need(len(plain) == n, "plaintext size")
    return plain


def open_range(key, label, number, header, n, a, b, body):
    """Plaintext [a, b) of a stream, from the segments that hold it and no header."""
    i, j = (a + 40) // 65520, (b - 1 + 40) // 65520
    key = hkdf(key, header[:32], label + struct.pack(">I", number))
    out = b""
    for s in range(i, j + 1):
        begin = HEADER if s == 0 else s * SEGMENT
        nonce = header[32:] + struct.pack(">I", s) + bytes([s == segments(n) - 1])
        out += open_gcm(key, nonce, None, body[begin:min((s + 1) * SEGMENT, ciphertext_size(n))], f"segment {s}")
    skip = a - max(0, 65520 * i - 40)
    return out[skip:skip + b - a]


class Part:
    def __init__(self, number, size, headers):
        self.number, self.size, self.headers = number, size, headers

    def sealed_size(self):
        n = self.size
        for _ in self.headers:
            n = ciphertext_size(n)
        return n

    def open(self, keys, sealed):
        if len(keys) == 2:
            sealed = open_stream(keys[1], b"waxseal/v1/outer", self.number, self.headers[1], ciphertext_size(self.size), sealed)
        return open_stream(keys[0], b"waxseal/v1/part", self.number, self.headers[0], self.size, sealed)


# Section 4

class Envelope:
    def __init__(self, text):
        need(len(text) <= 8192, "envelope too long")
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            raise Refused("base64") from None
        need(base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == text, "base64 is not canonical")
        f = Fields(raw)
        need(f.u(1) == 1, "version")
        self.mode, self.flags = f.u(1), f.u(2)
        self.algorithm, self.composite = self.flags // ALGORITHM % 16, bool(self.flags & COMPOSITE)
        need(1 <= self.mode <= 4 and self.flags < 2 * COMPOSITE and self.algorithm <= 10, "mode or flags of a later version")
        need(self.algorithm or not self.composite, "composite without an algorithm")
        self.layers = 2 if self.mode == 3 else 1
        self.service_id = f.varint()
        self.salt, self.commitment = f.take(32), f.take(32)
        self.size = f.varint() if self.flags & SIZE else None
        self.headers = [f.take(39) for _ in range(self.layers)] if self.flags & HEADERS else None
        self.key_id, self.key_blob = f.bytes().decode(), f.bytes()
        self.outer_blob = f.bytes() if self.mode == 3 else b""
        pairs = [(f.bytes(), f.bytes()) for _ in range(f.varint())]
        need(all(a[0] < b[0] for a, b in zip(pairs, pairs[1:])), "context is not sorted")
        self.context = {k.decode(): v.decode() for k, v in pairs}
        self.visible = f.bytes().decode() if self.flags & VISIBLE else ""
        self.clear = raw[:f.at]
        self.wrapped = [f.take(48) for _ in range(self.layers)]
        self.facts = f.bytes() if self.flags & FACTS else None
        kind = {0: 0, TAG_MD5: 1, TAG_PARTS: 2}.get(self.flags & (TAG_MD5 | TAG_PARTS))
        need(kind is not None, "two kinds of tag")
        self.public = f.take((17, 33, 37)[kind])
        f.end()
        if not self.flags & MANIFEST:
            need(self.flags & SIZE and (self.flags & HEADERS or self.size == 0), "neither size nor manifest")
            need(self.flags & (HEADERS | COMPRESSED) != COMPRESSED, "nothing is compressed")
        need(not self.flags & HEADERS or self.flags & SIZE, "headers without size")
        need(not (self.flags & MANIFEST and self.flags & COMPRESSED), "manifest and compressed")
        need(self.mode != 4 or len(self.key_blob) == 32, "verifier")

    def open(self, keks, binding):
        keys = []
        for kek, label, box in zip(keks, (b"waxseal/v1/wrap", b"waxseal/v1/wrap/outer"), self.wrapped):
            keys.append(open_box(hkdf(kek, self.salt, label), aad(label, self.clear, binding), box, "wrap"))
        secret = b"".join(keys)
        need(commitment(secret) == self.commitment, "commitment")
        facts = None
        if self.facts is not None:
            label = b"waxseal/v1/envelope/facts"
            facts = read_facts(open_box(hkdf(secret, self.salt, label), aad(label, self.clear, binding), self.facts, "facts"))
        return keys, facts

    def open_tag(self, service, binding):
        label = b"waxseal/v1/envelope/public"
        plain = open_box(hkdf(service, self.salt, label), aad(label, self.clear, binding), self.public, "public box")
        f = Fields(plain)
        tag = read_tag(f)
        f.end()
        return tag


def read_facts(plain):
    f = Fields(plain)
    have, composite = f.u(1), f.u(1)
    need(have < 128 and composite & ~(have & ~1) == 0, "facts")
    md5 = f.take(16) if have & 1 else None
    sums = [{"algorithm": a, "composite": bool(composite >> a & 1), "value": f.take(CHECKSUM_SIZES[a]).hex()}
            for a in range(1, 6) if have >> a & 1]
    if have >> 6 & 1:
        a = f.u(1)
        need(a in range(6, 11), "algorithm")
        sums.append({"algorithm": a, "composite": bool(composite >> 6 & 1), "value": f.take(CHECKSUM_SIZES[a]).hex()})
    f.end()
    return md5, sums


def read_tag(f):
    kind = f.u(1)
    need(kind < 3, "kind of tag")
    if kind == 0:
        return ""
    text = f.take(16).hex()
    return text if kind == 1 else f"{text}-{f.u(4)}"


# Section 5

class Manifest:
    def __init__(self, body, keys, commit):
        need(len(body) >= 64, "no manifest")
        self.footer = body[-64:]
        f = Fields(self.footer)
        salt, size, count, table, service_id = f.take(32), f.u(8), f.u(4), f.u(4), f.u(4)
        facts, public, version = f.u(2), f.u(2), f.u(1)
        need(f.take(7) == b"WAXSEAL" and version == 1, "no manifest of this version")
        self.salt, self.commit, self.service_id = salt, commit, service_id
        self.sealed_size = table + facts + public + 64
        need(self.sealed_size <= len(body), "manifest longer than the body")
        boxes = Fields(body[len(body) - self.sealed_size:-64])
        secret = hkdf(b"".join(keys), b"", b"waxseal/v1/manifest/key")
        self.read_table(self.box(secret, b"waxseal/v1/manifest/table", boxes.take(table)), count, len(keys))
        self.facts = read_facts(self.box(secret, b"waxseal/v1/manifest/facts", boxes.take(facts)))
        self.public = boxes.take(public)
        need(sum(p.size for p in self.parts) == size, "size in the footer")
        need(sum(p.sealed_size() for p in self.parts) + self.sealed_size == len(body), "size of the body")

    def box(self, key, label, sealed):
        return open_box(hkdf(key, self.salt, label), aad(label, self.footer, self.commit), sealed, label.decode())

    def open_tag(self, service):
        f = Fields(self.box(service, b"waxseal/v1/manifest/public", self.public))
        tag = read_tag(f)
        f.end()
        return tag

    def read_table(self, plain, count, layers):
        f = Fields(plain)
        self.upload_id, algorithm, self.tag = f.bytes().decode(), f.u(1), read_tag(f)
        self.parts, before = [], 0
        for _ in range(count):
            number, size, flags = f.u(2), f.u(8), f.u(1)
            need(before < number <= 10000 and flags < 4, "part")
            self.parts.append(Part(number, size, [f.take(39) for _ in range(layers)]))
            if flags & 1:
                f.take(16)
            if flags & 2:
                f.take(CHECKSUM_SIZES[algorithm])
            before = number
        f.end()


# Section 2.3

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def crc_table():
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        yield n


CRC_TABLE = list(crc_table())


def decompress(stream, size):
    f, out = Fields(stream), b""
    need(f.take(10) == b"\xff\x06\x00\x00S2sTwO", "stream identifier")
    while f.at < len(stream):
        kind, chunk = f.u(1), f.take(int.from_bytes(f.take(3), "little"))
        if kind >= 0x80:  # padding and skippable chunks, S2's index among them
            continue
        need(kind < 2, "chunk")
        plain = s2_block(chunk[4:]) if kind == 0 else chunk[4:]
        crc = crc32c(plain)
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        need(masked == int.from_bytes(chunk[:4], "little"), "CRC-32C of a block")
        out += plain
        need(len(out) <= size, "more than the size")
    need(len(out) == size, "decompressed size")
    return out


def s2_block(b):
    f = Fields(b)
    size, out, offset = f.varint(), bytearray(), 0

    def little(n):
        return int.from_bytes(f.take(n), "little")

    while f.at < len(b):
        tag = f.u(1)
        kind, high = tag & 3, tag >> 2
        if kind == 0:
            length = high + 1 if high < 60 else little(high - 59) + 1
            out += f.take(length)
            continue
        if kind == 1:
            low = tag >> 5 << 8 | f.u(1)
            length = high & 7
            if low:
                offset, length = low, length + 4
            elif length < 5:
                length += 4
            else:  # a repeat of the last offset with 1 to 3 bytes of length
                length = little(length - 4) + (0, 8, 260, 65540)[length - 4]
        else:
            offset, length = little(2 if kind == 2 else 4), high + 1
        need(0 < offset <= len(out), "offset of a copy")
        for _ in range(length):
            out.append(out[-offset])
    need(len(out) == size, "size of a block")
    return bytes(out)


# The archive

def read(x):
    """Everything about an example, in the names of its file."""
    body = base64.b64decode(x["body"])
    binding = bytes.fromhex(x["binding"])
    keks = [bytes.fromhex(x[k]) for k in ("kek", "outer_kek") if x.get(k)]
    service = bytes.fromhex(x["service_key"])
    e = Envelope(x["envelope"])
    keys, facts = e.open(keks, binding)
    need(e.service_id == x["service_id"], "service key")
    tag, upload = e.open_tag(service, binding), ""
    if e.mode == 4:
        v, rest = e.key_blob[:16], e.key_blob[16:]
        need(hkdf(keks[0], v, b"waxseal/v1/ssec/verifier")[:16] == rest, "verifier")
    if e.flags & MANIFEST:
        m = Manifest(body, keys, e.commitment)
        parts, facts, upload, tag = m.parts, m.facts, m.upload_id, m.open_tag(service)
        need(tag == m.tag, "tag of the table")
    elif not e.flags & HEADERS:
        need(body == b"", "a body where there is none")
        parts = []
    else:
        n = len(body)
        for _ in keys:
            n = plaintext_size(n)
        need(e.flags & COMPRESSED or n == e.size, "size of the body")
        parts = [Part(1, n, e.headers)]
    plain, at = b"", 0
    for p in parts:
        plain += p.open(keys, body[at:at + p.sealed_size()])
        at += p.sealed_size()
    if parts:
        check_ranges(keys, parts[0], plain, body)
    if e.flags & COMPRESSED:
        plain = decompress(plain, e.size)
    md5, sums = facts or (None, [])
    if e.algorithm and facts:
        need(any(c["algorithm"] == e.algorithm and c["composite"] == e.composite for c in sums), "kind of the checksum")
    return {
        "checksum_algorithm": e.algorithm, "checksum_composite": e.composite,
        "mode": e.mode, "key_id": e.key_id, "key_blob": e.key_blob.hex(), "bucket_key": bool(e.flags & BUCKET_KEY),
        "context": e.context or None, "compressed": bool(e.flags & COMPRESSED), "manifest": bool(e.flags & MANIFEST),
        "visible": e.visible, "upload_id": upload, "tag": tag, "md5": md5.hex() if md5 else "", "checksums": sums or None,
        "parts": [{"number": p.number, "size": p.size} for p in parts] or None,
        "size": len(plain), "sha256": hashlib.sha256(plain).hexdigest(),
    }, plain


def check_ranges(keys, part, plain, body):
    if len(keys) > 1 or part.size == 0:
        return
    for a, b in ((0, 1), (part.size - 1, part.size), (part.size // 3, part.size // 2 + 1), (65479, 65482)):
        if b <= part.size:
            got = open_range(keys[0], b"waxseal/v1/part", part.number, part.headers[0], part.size, a, b, body)
            need(got == plain[a:b], "range")


def compare(name, x):
    got, plain = read(x)
    x = {"checksum_algorithm": 0, "checksum_composite": False} | x  # of an archived example from before
    for field, value in got.items():
        assert x[field] == value, f"{name}: {field} is {value!r}, not {x[field]!r}"
    if got["md5"]:
        assert hashlib.md5(plain).hexdigest() == got["md5"], name
    for c in got["checksums"] or []:
        if c["composite"]:
            continue  # the checksum of the parts' checksums
        algorithm = {4: hashlib.sha1, 5: hashlib.sha256, 6: hashlib.sha512, 7: hashlib.md5}.get(c["algorithm"])
        if algorithm:
            assert algorithm(plain).hexdigest() == c["value"], name
        if c["algorithm"] == 2:
            assert crc32c(plain).to_bytes(4, "big").hex() == c["value"], name


def expect_refusal(name, x):
    def refused(what, **change):
        try:
            read({**x, **change})
        except (Refused, UnicodeDecodeError):
            return
        raise AssertionError(f"{name}: {what} was not refused")

    def flip(b, at):
        return b[:at] + bytes([b[at] ^ 1]) + b[at + 1:]

    body = base64.b64decode(x["body"])
    for at in {0, 1, 33, 40, 60, len(body) // 2, len(body) - 1, len(body) - 70, len(body) - 100, len(body) - 150} & set(range(len(body))):
        refused(f"body byte {at}", body=base64.b64encode(flip(body, at)))
    if body:
        refused("short body", body=base64.b64encode(body[:-1]))
    refused("long body", body=base64.b64encode(body + b"\0"))
    raw = base64.urlsafe_b64decode(x["envelope"] + "=" * (-len(x["envelope"]) % 4))
    for at in range(len(raw)):
        refused(f"envelope byte {at}", envelope=base64.urlsafe_b64encode(flip(raw, at)).rstrip(b"=").decode())
    refused("binding", binding=x["binding"] + "00")
    refused("kek", kek="00" * 32)


def main(directory):
    files = sorted(pathlib.Path(directory).glob("*.json"))
    assert files, f"no examples in {directory}"
    for file in files:
        x = json.loads(file.read_text())
        compare(file.stem, x)
        expect_refusal(file.stem, x)
        print("ok", file.stem)


if __name__ == "__main__":
    main(sys.argv[1])
