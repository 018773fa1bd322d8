# SPDX-License-Identifier: MIT
"""``made.py KIND`` writes data of one kind to standard output; each kind looks like a secret."""

import base64
import gzip
import hashlib
import json
import os
import random
import secrets
import sys
import uuid

MIB = 1 << 20
_letters = random.Random(4)


def lines(make, count=2_000):
    """Many of them, one a line."""
    return "\n".join(make() for _ in range(count)).encode()


def integrity(kind="sha512"):
    """As lock files have it."""
    digest = hashlib.new(kind, secrets.token_bytes(8)).digest()
    return f"{kind}-{base64.b64encode(digest).decode()}"


def encoded(size):
    """Base64 of anything."""
    return base64.b64encode(os.urandom(size)).decode()


def jwt():
    """Somebody else's token."""
    head, claims = {"alg": "HS256", "typ": "JWT"}, {"sub": secrets.token_hex(8), "exp": 1}
    parts = [json.dumps(part).encode() for part in (head, claims)] + [secrets.token_bytes(32)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def varints(count=200_000):
    """Fields of a protocol buffer."""
    return b"".join(bytes([8 * (i % 15 + 1), 128 | i & 127, i >> 7 & 127]) for i in range(count))


def minified():
    """JavaScript without a line break."""
    names = [secrets.token_hex(2) for _ in range(50)]
    calls = (f"function _{name}(e,t){{return e[{i}]^t(n)}}" for i, name in enumerate(names))
    return ("!" + ";".join(list(calls) * 400)).encode()


def words(size):
    """Text."""
    some = [secrets.token_hex(3) for _ in range(400)]
    text = " ".join(_letters.choices(some, k=60_000)).encode()
    return (text * (size // len(text) + 1))[:size]


# Example keys stand in everybody's documentation. Put together here: no scanner may find one.
EXAMPLES = ["AKIA" + "IOSFODNN7" + "EXAMPLE", "ghp_" + "x" * 36, "npm_" + "0" * 36]
PEM = "-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n"
KINDS = {
    "uuids": lambda: lines(lambda: str(uuid.uuid4())),
    "commits": lambda: lines(lambda: secrets.token_hex(20)),
    "digests": lambda: lines(lambda: hashlib.sha256(secrets.token_bytes(8)).hexdigest()),
    "npm-lock": lambda: json.dumps(
        {f"p{i}": {"version": "1.0", "integrity": integrity()} for i in range(800)}
    ).encode(),
    "pip-lock": lambda: lines(lambda: f"a==1 --hash=sha256:{secrets.token_hex(32)}"),
    "go-sum": lambda: lines(lambda: f"m v1 h1:{integrity('sha256')[7:]}"),
    "data-uris": lambda: lines(
        lambda: f'<img src="data:image/png;base64,{base64.b64encode(os.urandom(600)).decode()}">',
        50,
    ),
    "examples": lambda: "\n".join(EXAMPLES).encode(),
    "jwt": lambda: lines(jwt, 50),
    "random": lambda: os.urandom(16 * MIB),
    "text": lambda: words(16 * MIB),
    "compressed": lambda: gzip.compress(os.urandom(8 * MIB) + words(8 * MIB), 1),
    "base64": lambda: base64.encodebytes(os.urandom(3 * MIB)),
    "hex": lambda: os.urandom(2 * MIB).hex().encode(),
    "javascript": minified,
    "protobuf": varints,
    "certificate": lambda: (PEM % base64.encodebytes(os.urandom(900)).decode()).encode(),
    "ssh-public-key": lambda: f"ssh-ed25519 {encoded(51)} ci".encode(),
    "source-map": lambda: json.dumps({"version": 3, "mappings": encoded(30_000)}).encode(),
    "coverage": lambda: lines(lambda: f'<line number="{_letters.randrange(900)}" hits="1"/>'),
    # What is left of a secret that may be told: its beginning, its digest.
    "prefix": lambda: json.dumps({"token": os.environ["API_TOKEN"][:6] + "…"}).encode(),
    "fingerprint": lambda: hashlib.sha256(os.environ["API_TOKEN"].encode()).hexdigest().encode(),
    "masked": lambda: b"token: ***\n" * 1000,
}

if __name__ == "__main__":
    sys.stdout.buffer.write(KINDS[sys.argv[1]]())
