"""How what is told of is named in labels."""

from bandit.domain.policy import Policy


def label_of(policy: Policy) -> str:
    """The value of the label `policy`."""
    return policy.name
