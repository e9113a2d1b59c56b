"""The order of a replay: which query comes when, wanting what, and when its outcome arrives."""

import hashlib
import uuid
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bandit.domain.policy import KEY_BYTES
from bandit.domain.preference import Preference, Tradeoff

Order = Literal["shuffled", "recorded"]
RandomPreference = Literal["random", "random3"]


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """
    One pass over a table; all arrays are by position in the stream.

    rows           (steps,)  row of the table
    tradeoffs      (steps,)  what the caller wants
    delays         (steps,)  decisions until the outcome arrives; 0: before the next decision
    has_quality    (steps,)  whether the quality ever arrives
    learn_first    positions before this one are played but not measured
    """

    seed: int
    rows: NDArray[np.int64]
    tradeoffs: tuple[Tradeoff, ...]
    delays: NDArray[np.int64]
    has_quality: NDArray[np.bool_]
    learn_first: int

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """
    How a table is played.

    tradeoffs    one: for all; several: in turn; "random": w_c uniform on [0, 1] per query;
                 "random3": uniform on the simplex of quality, cost and latency
    delay        mean of the geometric delay in decisions
    missing      probability that a quality never arrives
    learn_first  queries played and learned from, but not measured
    """

    tradeoffs: tuple[Tradeoff, ...] | RandomPreference
    order: Order = "shuffled"
    delay: float = 0.0
    missing: float = 0.0
    learn_first: int = 0


def stream_of(queries: int, settings: StreamSettings, *, seed: int, warmup: int = 0) -> Stream:
    """
    The stream of a table with that many queries: the same for the same seed.

    warmup  the first so many rows stand before the others, in an order of their own
    """
    # One generator per question, so that switching one on leaves the others' answers alone.
    ordering, wanting, waiting, losing = (
        np.random.default_rng([seed, question]) for question in range(4)
    )
    rows = np.arange(queries)
    if settings.order == "shuffled":
        rows = np.concatenate(
            [ordering.permutation(rows[:warmup]), ordering.permutation(rows[warmup:])]
        )
    delays = np.zeros(queries, dtype=np.int64)
    if settings.delay > 0:
        delays = waiting.geometric(1 / (1 + settings.delay), size=queries) - 1
    return Stream(
        seed=seed,
        rows=rows,
        tradeoffs=_tradeoffs(queries, settings, wanting),
        delays=delays,
        has_quality=losing.random(queries) >= settings.missing,
        learn_first=warmup + settings.learn_first,
    )


def _tradeoffs(
    queries: int, settings: StreamSettings, random: np.random.Generator
) -> tuple[Tradeoff, ...]:
    if settings.tradeoffs == "random":
        return tuple(
            Preference(quality=1 - weight, cost=weight) for weight in random.random(queries)
        )
    if settings.tradeoffs == "random3":
        return tuple(Preference(*weights) for weights in random.dirichlet((1, 1, 1), queries))
    given = settings.tradeoffs
    return tuple(given[position % len(given)] for position in range(queries))


def decision_id(seed: int, position: int) -> UUID:
    """A UUIDv8 made from seed and position, so that a replay repeats its draws exactly."""
    name = f"bandit-router replay {seed} {position}".encode()
    digest = hashlib.sha1(uuid.NAMESPACE_OID.bytes + name, usedforsecurity=False).digest()
    bits = int.from_bytes(digest[:16], "big")
    # Version 8 and the variant of RFC 9562, in place of six bits of the hash.
    return UUID(int=bits & ~(0xF << 76 | 3 << 62) | (8 << 76 | 2 << 62))


def key_of(seed: int) -> bytes:
    """The policy's key in a replay of that seed."""
    return hashlib.sha256(f"bandit-router replay key {seed}".encode()).digest()[:KEY_BYTES]
