"""What a learned state would give on prompts that were never played; nothing of it is recorded."""

import numpy as np

from bandit.client import RouterClient
from bandit.domain.preference import Preference
from bandit.evaluation.pictures import Point
from bandit.evaluation.table import OutcomeTable


def previewed(
    client: RouterClient,
    policy: str,
    held_out: OutcomeTable,
    *,
    label: str,
    preference: Preference | None,
) -> Point:
    """
    Mean quality and cost over the held-out prompts, each model weighed by its propensity.

    preference  None: what the policy's budget makes of it
    """
    position = {model: number for number, model in enumerate(held_out.models)}
    propensities = np.zeros(held_out.quality.shape)
    for row, text in enumerate(held_out.texts):
        for candidate in client.preview(policy, text=text, preference=preference).candidates:
            propensities[row, position[candidate.arm]] = candidate.propensity
    return Point(
        label=label,
        cost_usd=float((propensities * held_out.cost_usd).sum(axis=1).mean()),
        quality=float((propensities * held_out.quality).sum(axis=1).mean()),
    )
