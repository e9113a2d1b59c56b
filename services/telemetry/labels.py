"""How what is told of is named in labels."""

from bandit.domain.policy import Policy
from bandit.domain.tenant import DEFAULT_TENANT


def label_of(policy: Policy) -> str:
    """The value of the label `policy`: its name, behind its tenant's unless that is the default."""
    if policy.tenant == DEFAULT_TENANT:
        return policy.name
    return f"{policy.tenant}/{policy.name}"
