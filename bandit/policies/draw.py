"""The draw of an arm from its propensities, reproducible from the decision id."""

import hashlib
import hmac
from uuid import UUID

import numpy as np

from bandit.kernels.jit import Array


def uniform_of(key: bytes, decision_id: UUID) -> float:
    """
    A number in [0, 1) that nobody without the policy's key can foresee.

    The first 53 bits of HMAC-SHA256(key, decision id) as a fraction.
    """
    digest = hmac.digest(key, decision_id.bytes, hashlib.sha256)
    return (int.from_bytes(digest[:8], "big") >> 11) / 2.0**53


def normals_of(key: bytes, decision_id: UUID, count: int) -> Array:
    """
    (count,) standard normal numbers of a decision, apart from its draw.

    A counter-based generator under HMAC-SHA256(key, "sample" | decision id): Salmon et al. (2011).
    """
    digest = hmac.digest(key, b"sample" + decision_id.bytes, hashlib.sha256)
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
    return generator.standard_normal(count)
