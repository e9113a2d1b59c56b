"""The draw of an arm from its propensities, reproducible from the decision id."""

import hashlib
import hmac
from functools import lru_cache
from uuid import UUID

import numpy as np

from bandit.kernels.jit import Array


def uniform_of(key: bytes, decision_id: UUID) -> float:
    """
    A number in [0, 1) that nobody without the policy's key can foresee.

    The first 53 bits of HMAC-SHA256(key, decision id) as a fraction.
    """
    inner, outer = (pad.copy() for pad in _pads(key))
    inner.update(decision_id.bytes)
    outer.update(inner.digest())
    return (int.from_bytes(outer.digest()[:8], "big") >> 11) / 2.0**53


@lru_cache(maxsize=1024)
def _pads(key: bytes) -> tuple["hashlib._Hash", "hashlib._Hash"]:
    """
    The two hashes of HMAC with the key taken in: a third of the time of `hmac.digest`.

    Source: RFC 2104, section 4; the keys are shorter than a block.
    """
    block = key.ljust(hashlib.sha256().block_size, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
    return hashlib.sha256(inner), hashlib.sha256(outer)


def normals_of(key: bytes, decision_id: UUID, count: int) -> Array:
    """
    (count,) standard normal numbers of a decision, apart from its draw.

    A counter-based generator under HMAC-SHA256(key, "sample" | decision id): Salmon et al. (2011).
    """
    digest = hmac.digest(key, b"sample" + decision_id.bytes, hashlib.sha256)
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
    return generator.standard_normal(count)
