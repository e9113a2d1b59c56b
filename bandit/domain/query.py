"""What a caller asks: choose an arm for this query, under these constraints."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bandit.domain.errors import InvalidInput, TooLarge
from bandit.domain.label_rule import LONGEST_LABEL
from bandit.domain.policy import MOST_ARMS
from bandit.domain.preference import Tradeoff

CHARACTERS_PER_TOKEN = 4
LONGEST_TEXT = 1_000_000
MOST_LABELS = 32
MOST_TOKENS = 2**40

_NOTHING: Mapping[str, float] = MappingProxyType({})
_NO_LABELS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """
    One request for a choice.

    text, vector, features   what the context is made from; the policy says which it takes
    tradeoff                 None: the profile's or else the policy's default preference
    preference_profile       name of one of the policy's profiles, in place of `tradeoff`
    allow_arms, deny_arms    names; an empty `allow_arms` allows all
    max_cost_usd             on the predicted cost of this call; likewise latency and quality
    switch_cost_usd          per arm, what turning to it costs besides the call; absent: nothing
    input_tokens             None: characters / 4
    decision_id              the caller's own id, which makes the call idempotent
    defer_activation         nothing is learned from the decision before it is activated
    fingerprint              hash of the request, to recognise an id used for another one
    """

    policy: str
    text: str | None = None
    vector: NDArray[np.float64] | None = None
    features: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    tradeoff: Tradeoff | None = None
    preference_profile: str | None = None
    allow_arms: tuple[str, ...] = ()
    deny_arms: tuple[str, ...] = ()
    max_cost_usd: float | None = None
    max_latency_ms: float | None = None
    min_quality: float | None = None
    switch_cost_usd: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    input_tokens: int | None = None
    max_output_tokens: int | None = None
    decision_id: UUID | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)
    explain: bool = False
    defer_activation: bool = False
    fingerprint: bytes = b""

    def __post_init__(self) -> None:
        if self.text is not None and len(self.text) > LONGEST_TEXT:
            raise TooLarge("text", limit=LONGEST_TEXT, actual=len(self.text))
        if self.vector is not None and not np.isfinite(self.vector).all():
            position = int(np.flatnonzero(~np.isfinite(self.vector))[0])
            raise InvalidInput(f"vector.values[{position}]", "must be a finite number")
        if not all(map(math.isfinite, self.features.values())):
            name = next(name for name, value in self.features.items() if not math.isfinite(value))
            raise InvalidInput(f"features[{name}]", "must be a finite number")
        if self.tradeoff is not None and self.preference_profile is not None:
            raise InvalidInput("preference_profile", "stands in place of another trade-off")
        for name in ("allow_arms", "deny_arms", "switch_cost_usd"):
            if len(getattr(self, name)) > MOST_ARMS:
                raise TooLarge(name, limit=MOST_ARMS, actual=len(getattr(self, name)))
        for name in ("max_cost_usd", "max_latency_ms"):
            limit = getattr(self, name)
            if limit is not None and not (math.isfinite(limit) and limit >= 0):
                raise InvalidInput(name, "must be a finite number, not negative")
        for name, usd in self.switch_cost_usd.items():
            if not (math.isfinite(usd) and usd >= 0):
                raise InvalidInput(
                    f"switch_cost_usd[{name}]", "must be a finite number, not negative"
                )
        if self.min_quality is not None and not 0 <= self.min_quality <= 1:
            raise InvalidInput("min_quality", "must be from 0 to 1")
        for name in ("input_tokens", "max_output_tokens"):
            tokens = getattr(self, name)
            if tokens is not None and not 0 <= tokens <= MOST_TOKENS:
                raise InvalidInput(name, f"must be from 0 to {MOST_TOKENS}")
        if len(self.labels) > MOST_LABELS:
            raise TooLarge("labels", limit=MOST_LABELS, actual=len(self.labels))
        for name, label in self.labels.items():
            if len(name) > LONGEST_LABEL or len(label) > LONGEST_LABEL:
                raise TooLarge("labels", limit=LONGEST_LABEL, actual=max(len(name), len(label)))

    @property
    def expected_input_tokens(self) -> int:
        """The caller's count, or the text's characters / 4, at least 1."""
        if self.input_tokens is not None:
            return self.input_tokens
        return max(1, len(self.text or "") // CHARACTERS_PER_TOKEN)
