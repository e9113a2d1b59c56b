"""Published rivals, each as a `ReplayRouter` on the same stream as the policy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bandit.domain.budget import Budget
from bandit.domain.errors import InvalidInput
from bandit.domain.policy import PolicySettings
from bandit.domain.preference import Preference, Tradeoff
from bandit.domain.price import Price
from bandit.evaluation.peers.mabwiser import MabWiserRouter
from bandit.evaluation.peers.packages import is_installed
from bandit.evaluation.peers.pareto_bandit import ParetoBanditRouter
from bandit.evaluation.peers.river import RiverRouter
from bandit.evaluation.peers.scalar import ScalarView, varying_weights
from bandit.evaluation.replay import ReplayRouter
from bandit.evaluation.stream import RandomPreference
from bandit.evaluation.table import OutcomeTable
from bandit.kernels.jit import Array
from bandit.policies.utility import Normaliser, cost_range_of

Wanted = Sequence[Tradeoff] | RandomPreference


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """
    What every rival is made from.

    contexts   (queries, features) of the table, as the policy sees them
    present    the models that it starts with
    tradeoffs  of the stream's requests, as in `StreamSettings`
    vectors    (queries, length) of all-MiniLM-L6-v2, or None
    """

    table: OutcomeTable
    contexts: NDArray[np.float32]
    prices: Mapping[str, Price]
    normaliser: Normaliser
    present: tuple[str, ...]
    tradeoffs: Wanted
    budget_usd: float | None
    vectors: Array | None
    seed: int

    @property
    def view(self) -> ScalarView:
        """The same with utility as the only reward."""
        return ScalarView(self.contexts, self.normaliser, varying_weights(self.tradeoffs))


@dataclass(frozen=True, slots=True)
class Peer:
    """
    A rival.

    module           what it is imported from
    supports_budget  whether it can aim at a mean cost
    has_objectives   whether it knows quality and cost apart; otherwise it learns utility
    """

    name: str
    module: str
    supports_budget: bool
    has_objectives: bool
    make: Callable[[Setting], ReplayRouter]

    def refusal(self, tradeoffs: Wanted, budget: Budget | None) -> str | None:
        """Why it cannot play what is asked; None: it can."""
        if budget is not None and not self.supports_budget:
            return "has no budget"
        if budget is not None and (budget.target_usd is None or budget.limit_usd is not None):
            return "knows budgets only as a target per decision"
        if isinstance(tradeoffs, str):
            has_latency, others = tradeoffs == "random3", 0
        else:
            preferences = [t for t in tradeoffs if isinstance(t, Preference)]
            has_latency = any(preference.latency > 0 for preference in preferences)
            others = len(tradeoffs) - len(preferences)
        if self.has_objectives and has_latency:
            return "does not know latency"
        if self.has_objectives and others:
            return "does not know a willingness to pay"
        if others and len(set(tradeoffs)) > 1:
            return "does not follow a willingness to pay that varies"
        return None


def _pareto_bandit(setting: Setting) -> ReplayRouter:
    return ParetoBanditRouter(
        setting.table,
        setting.contexts,
        setting.prices,
        setting.normaliser,
        present=setting.present,
        budget_usd=setting.budget_usd,
        vectors=setting.vectors,
        seed=setting.seed,
    )


def _river(setting: Setting) -> ReplayRouter:
    models, view = setting.table.models, setting.view
    return RiverRouter(models, view, present=setting.present, seed=setting.seed)


def _mabwiser(setting: Setting, algorithm: Literal["LinUCB", "LinTS"]) -> ReplayRouter:
    return MabWiserRouter(
        setting.table.models,
        setting.view,
        present=setting.present,
        algorithm=algorithm,
        seed=setting.seed,
    )


def _mabwiser_ucb(setting: Setting) -> ReplayRouter:
    return _mabwiser(setting, "LinUCB")


def _mabwiser_ts(setting: Setting) -> ReplayRouter:
    return _mabwiser(setting, "LinTS")


PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        peer.name: peer
        for peer in (
            Peer(
                "paretobandit",
                "pareto_bandit",
                supports_budget=True,
                has_objectives=True,
                make=_pareto_bandit,
            ),
            Peer("river-linucb", "river", supports_budget=False, has_objectives=False, make=_river),
            Peer(
                "mabwiser-linucb",
                "mabwiser",
                supports_budget=False,
                has_objectives=False,
                make=_mabwiser_ucb,
            ),
            Peer(
                "mabwiser-lints",
                "mabwiser",
                supports_budget=False,
                has_objectives=False,
                make=_mabwiser_ts,
            ),
        )
    }
)


def available() -> list[str]:
    """The names of the rivals whose packages are installed."""
    return [peer.name for peer in PEERS.values() if is_installed(peer.module)]


def make_peer(
    name: str,
    table: OutcomeTable,
    contexts: NDArray[np.float32],
    prices: Mapping[str, Price],
    settings: PolicySettings,
    *,
    tradeoffs: Wanted,
    budget: Budget | None,
    vectors: Array | None,
    seed: int,
    models: Sequence[str] | None = None,
) -> ReplayRouter:
    """
    The rival of that name, knowing nothing of the table but its contexts and models.

    tradeoffs  of the stream's requests, as in `StreamSettings`
    vectors    (queries, 384) of all-MiniLM-L6-v2 for those that have features of their own; None:
               they get the contexts
    models     those that it starts with; None: all of the table's

    Raises `Unavailable` where its package is missing, and `InvalidInput` where it cannot play what
    is asked (`Peer.refusal`).
    """
    if name not in PEERS:
        raise InvalidInput("peers", f"there is no {name!r}; there are {list(PEERS)}")
    peer = PEERS[name]
    refusal = peer.refusal(tradeoffs, budget)
    if refusal is not None:
        raise InvalidInput("peers", f"{name} {refusal}")
    normaliser = Normaliser(
        settings.cost_range or cost_range_of(prices.values()),
        settings.latency_range_ms,
        settings.cost_form,
    )
    return peer.make(
        Setting(
            table=table,
            contexts=contexts,
            prices=prices,
            normaliser=normaliser,
            present=table.models if models is None else tuple(models),
            tradeoffs=tradeoffs,
            budget_usd=None if budget is None else budget.target_usd,
            vectors=vectors,
            seed=seed,
        )
    )
