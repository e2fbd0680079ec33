"""How long signing a mail takes, against the bare signature no program can do without.

Prints medians: one bare RSA-2048 signature, one bare Ed25519 signature, the whole signing of a mail
(canonicalise, hash, sign, write the field) by RSA alone and by both, and the ratios. Times only the signing,
asserts nothing.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Run as a file, this folder would come first on the path and hide dkimpy's module behind this one.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from smtp import dkim, headers

_HEADER = (
    b"Received: from app.example.org ([192.0.2.1])\r\n\tby mail.example.org with ESMTPSA id 01J;\r\n"
    b"\tTue, 3 Nov 2026 10:00:00 +0000\r\n"
    b"From: Shop <shop@example.org>\r\nTo: customer@example.net\r\nSubject: Your order 4711 is on its way\r\n"
    b"Date: Tue, 3 Nov 2026 10:00:00 +0000\r\nMessage-ID: <4711@example.org>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    b"List-Unsubscribe: <https://example.org/u/4711>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\n"
)


def sample(size_octets: int) -> bytes:
    """A text mail of about this size, words and lines as people write them, the same at each run."""
    rng = random.Random(4711)  # noqa: S311 - text, not a secret
    body = bytearray()
    while len(_HEADER) + len(body) < size_octets:
        words = (rng.randbytes(rng.randint(1, 5)).hex() for _ in range(rng.randint(4, 10)))
        body += " ".join(words).encode() + b"\r\n"
    return _HEADER + bytes(body)


def median_us(work: Callable[[], object], *, runs: int, repeats: int) -> float:
    """The median over `repeats` of the mean time of `runs` calls, in microseconds."""
    means = []
    for _ in range(repeats):
        started = time.perf_counter()
        for _ in range(runs):
            work()
        means.append((time.perf_counter() - started) / runs)
    return statistics.median(means) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096, help="octets of the mail (4096)")
    parser.add_argument("--runs", type=int, default=200, help="signatures per repeat (200)")
    parser.add_argument("--repeats", type=int, default=9, help="repeats, of which the median counts (9)")
    arguments = parser.parse_args()

    rsa_pem, ed25519_pem = dkim.make_keys()
    rsa = dkim.load_key(rsa_pem, domain="example.org", selector="r")
    ed25519 = dkim.load_key(ed25519_pem, domain="example.org", selector="e")
    raw = sample(arguments.size)
    fields, start = headers.parse(raw)
    body = raw[start:]
    octets = raw[:1024]

    def measure(work: Callable[[], object]) -> float:
        return median_us(work, runs=arguments.runs, repeats=arguments.repeats)

    only_rsa, both = dkim.Signer([rsa]), dkim.Signer([rsa, ed25519])
    bare_rsa = measure(lambda: rsa.sign(octets))
    bare_ed25519 = measure(lambda: ed25519.sign(octets))
    whole_rsa = measure(lambda: only_rsa.sign(fields, body, now=1_800_000_000))
    whole_both = measure(lambda: both.sign(fields, body, now=1_800_000_000))

    lines = (
        f"mail of {len(raw)} octets, median of {arguments.repeats} × {arguments.runs}",
        f"bare RSA-2048 signature      {bare_rsa:8.1f} µs",
        f"bare Ed25519 signature       {bare_ed25519:8.1f} µs",
        f"whole signing, RSA           {whole_rsa:8.1f} µs  {whole_rsa / bare_rsa:.3f} × bare RSA",
        f"whole signing, RSA + Ed25519 {whole_both:8.1f} µs  {whole_both / bare_rsa:.3f} × bare RSA",
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
