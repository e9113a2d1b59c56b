"""Who can play a stream, by name: the policy itself, and references that learn as they go."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from bandit.domain.policy import ContextSettings, ContextSource
from bandit.evaluation.in_process import InProcessRouter
from bandit.evaluation.online_knn import OnlineKnn
from bandit.evaluation.peers import make_peer
from bandit.evaluation.replay import ReplayRouter, present_at_first
from bandit.evaluation.scalar_reward import ScalarReward
from bandit.evaluation.trial import POLICY_ITSELF, Trial

ONLINE_KNN = "online_knn"
CONTEXT_FREE = "context_free"
SCALAR_REWARD = "scalar_reward"

Maker = Callable[[Trial, int], ReplayRouter]


def _policy_itself(trial: Trial, seed: int) -> ReplayRouter:
    return InProcessRouter(
        trial.table,
        trial.contexts,
        trial.policy,
        trial.prices,
        seed=seed,
        models=present_at_first(trial.script, trial.table.models),
        budget=trial.budget,
        offline=trial.offline,
    )


def _context_free(trial: Trial, seed: int) -> ReplayRouter:
    """The same policy, learning one mean per model and head; priors have contexts: left out."""
    blind = replace(trial.policy, context=ContextSettings(source=ContextSource.NONE))
    contexts = np.ones((len(trial.table), 1), dtype=np.float32)
    return _policy_itself(replace(trial, policy=blind, contexts=contexts, offline={}), seed)


def _scalar_reward(trial: Trial, seed: int) -> ReplayRouter:
    return ScalarReward(
        trial.table,
        trial.contexts,
        trial.policy,
        trial.prices,
        seed=seed,
        models=present_at_first(trial.script, trial.table.models),
    )


def _online_knn(trial: Trial, seed: int) -> ReplayRouter:
    return OnlineKnn(
        trial.table,
        trial.contexts,
        trial.policy,
        trial.prices,
        seed=seed,
        models=present_at_first(trial.script, trial.table.models),
    )


CONTENDERS: Mapping[str, Maker] = MappingProxyType(
    {
        POLICY_ITSELF: _policy_itself,
        CONTEXT_FREE: _context_free,
        ONLINE_KNN: _online_knn,
        SCALAR_REWARD: _scalar_reward,
    }
)


def router_of(trial: Trial, *, seed: int) -> ReplayRouter:
    """The contender that the trial names, a published rival included."""
    if trial.contender in CONTENDERS:
        return CONTENDERS[trial.contender](trial, seed)
    return make_peer(
        trial.contender,
        trial.table,
        trial.contexts,
        trial.prices,
        trial.policy,
        tradeoffs=trial.stream.tradeoffs,
        budget=trial.budget,
        vectors=trial.vectors,
        seed=seed,
        models=present_at_first(trial.script, trial.table.models),
    )
