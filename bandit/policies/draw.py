"""The draw of an arm from its propensities, reproducible from the decision id."""

import hashlib
import hmac
from uuid import UUID


def uniform_of(key: bytes, decision_id: UUID) -> float:
    """
    A number in [0, 1) that nobody without the policy's key can foresee.

    The first 53 bits of HMAC-SHA256(key, decision id) as a fraction.
    """
    digest = hmac.digest(key, decision_id.bytes, hashlib.sha256)
    return (int.from_bytes(digest[:8], "big") >> 11) / 2.0**53
