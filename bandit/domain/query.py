"""What a caller asks: choose an arm for this query, under these constraints."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from uuid import UUID

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
    vector: Sequence[float] | None = None
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
        if self.vector is not None and ((position := _first_infinite(self.vector)) is not None):
            raise InvalidInput(f"vector.values[{position}]", "must be a finite number")
        if (position := _first_infinite(self.features.values())) is not None:
            raise InvalidInput(
                f"features[{list(self.features)[position]}]", "must be a finite number"
            )
        if self.tradeoff is not None and self.preference_profile is not None:
            raise InvalidInput("preference_profile", "stands in place of another trade-off")
        _check_arms("allow_arms", self.allow_arms)
        _check_arms("deny_arms", self.deny_arms)
        _check_amount("max_cost_usd", self.max_cost_usd)
        _check_amount("max_latency_ms", self.max_latency_ms)
        if self.switch_cost_usd:
            _check_arms("switch_cost_usd", self.switch_cost_usd)
            for name, usd in self.switch_cost_usd.items():
                _check_amount(f"switch_cost_usd[{name}]", usd)
        if self.min_quality is not None and not 0 <= self.min_quality <= 1:
            raise InvalidInput("min_quality", "must be from 0 to 1")
        _check_tokens("input_tokens", self.input_tokens)
        _check_tokens("max_output_tokens", self.max_output_tokens)
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


def _first_infinite(numbers: Collection[float]) -> int | None:
    """Where the first number is that is not finite; None: all are."""
    if math.isfinite(sum(numbers)):  # not if one of them is not; a sum may overflow, though
        return None
    return next((at for at, number in enumerate(numbers) if not math.isfinite(number)), None)


def _check_arms(field: str, names: Collection[str]) -> None:
    if len(names) > MOST_ARMS:
        raise TooLarge(field, limit=MOST_ARMS, actual=len(names))


def _check_amount(field: str, amount: float | None) -> None:
    if amount is not None and not (math.isfinite(amount) and amount >= 0):
        raise InvalidInput(field, "must be a finite number, not negative")


def _check_tokens(field: str, tokens: int | None) -> None:
    if tokens is not None and not 0 <= tokens <= MOST_TOKENS:
        raise InvalidInput(field, f"must be from 0 to {MOST_TOKENS}")
