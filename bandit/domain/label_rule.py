"""Which arms requests of a kind may go to, as a policy's owner lays down."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bandit.domain.arm import checked_name
from bandit.domain.errors import InvalidInput

LONGEST_LABEL = 256
MOST_RULES = 64
MOST_RULE_ARMS = 256


@dataclass(frozen=True, slots=True)
class LabelRule:
    """
    A request whose label `label` is `value` may only go to these arms.

    label, value  as requests bring them: letter for letter, at most 256 characters
    arms          names; those of arms that are retired stay, and match no arm that is present
    """

    label: str
    value: str
    arms: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.label) <= LONGEST_LABEL:
            raise InvalidInput("rule.label", f"must have 1 to {LONGEST_LABEL} characters")
        if len(self.value) > LONGEST_LABEL:
            raise InvalidInput("rule.value", f"must have at most {LONGEST_LABEL} characters")
        for name in ("label", "value"):
            if "\0" in getattr(self, name):  # which the store cannot keep
                raise InvalidInput(f"rule.{name}", "must not contain the character U+0000")
        if not 1 <= len(self.arms) <= MOST_RULE_ARMS:
            raise InvalidInput("rule.arms", f"must name 1 to {MOST_RULE_ARMS} arms")
        for position, name in enumerate(self.arms):
            checked_name(f"rule.arms[{position}]", name)
            if name in self.arms[:position]:
                raise InvalidInput(f"rule.arms[{position}]", "each name at most once")


def permitted(rules: Iterable[LabelRule], labels: Mapping[str, str]) -> frozenset[str] | None:
    """The names that every matching rule leaves; None where no rule matches: all of them."""
    matching = [frozenset(rule.arms) for rule in rules if labels.get(rule.label) == rule.value]
    return frozenset.intersection(*matching) if matching else None
