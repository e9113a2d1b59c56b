"""A policy as its owner declares it: its settings and its arms."""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import NewType
from uuid import UUID

from bandit.domain.arm import Arm, ArmId, ArmStatus, arm_key, checked_name
from bandit.domain.budget import Budget
from bandit.domain.errors import InvalidInput, UnknownArm, UnknownArmNamed
from bandit.domain.label_rule import MOST_RULES, LabelRule
from bandit.domain.objective import HEADS, Objective
from bandit.domain.preference import Preference, Tradeoff
from bandit.domain.reward_window import NO_WINDOWS, RewardWindow, check_default
from bandit.domain.tenant import DEFAULT_TENANT, Tenant

PolicyId = NewType("PolicyId", UUID)

KEY_BYTES = 32
DEFAULT_PREFERENCE = Preference(quality=0.8, cost=0.2)
MOST_ARMS = 256
MOST_NAMED_FEATURES = 64
MOST_PROFILES = 64
MOST_TRIALS = 10_000
MOST_EXPLORATION = 100.0  # of temperature and alpha, in deviations
MOST_OPTIMISM = 2.0  # of the prior mean of a quality that lies between 0 and 1
LONGEST_VECTOR = 8192


class Algorithm(StrEnum):
    """How a policy turns beliefs about utility into a choice."""

    THOMPSON = "thompson"
    LINUCB = "linucb"
    GREEDY = "greedy"
    EPSILON_GREEDY = "epsilon-greedy"
    UNIFORM = "uniform"


class CostForm(StrEnum):
    """The normaliser phi of cost, see `policies/utility.py`."""

    LOG = "log"  # clip((ln c - ln low) / (ln high - ln low), 0, 1)
    CAPPED_LINEAR = "capped-linear"  # min(c / high, 1), as in BaRP


class Detector(StrEnum):
    """What watches the outcomes of an arm for change, see `learning/drift.py`."""

    CUSUM = "cusum"
    PAGE_HINKLEY = "page-hinkley"
    ADWIN = "adwin"
    OFF = "off"


class WhenOffline(StrEnum):
    """What callers get while it cannot be confirmed that a decision is stored."""

    SERVE = "serve"  # the decision, said not to be durable; it is stored later
    REFUSE = "refuse"  # `Unavailable`


class ContextSource(StrEnum):
    """What the context is computed from, besides the named features."""

    TEXT = "text"
    VECTOR = "vector"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Range:
    """1e-12 <= low < high <= 1e12, in the unit of what it normalises."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 1e-12 <= self.low < self.high <= 1e12:
            raise InvalidInput("range", "must satisfy 1e-12 <= low < high <= 1e12")


@dataclass(frozen=True, slots=True)
class NamedFeature:
    """A number that callers send by name, standardised to clip((x - mean) / deviation, +-3)."""

    name: str
    mean: float = 0.0
    deviation: float = 1.0

    def __post_init__(self) -> None:
        checked_name("settings.features.name", self.name)
        if not math.isfinite(self.mean):
            raise InvalidInput("settings.features.mean", "must be a finite number")
        if not (math.isfinite(self.deviation) and self.deviation > 0):
            raise InvalidInput("settings.features.deviation", "must be a finite number above 0")


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """What a policy learns from: a text or the caller's own vectors, and named features."""

    source: ContextSource = ContextSource.TEXT
    vector_length: int = 0
    named: tuple[NamedFeature, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        # Looked up for every decision, where hashing each feature would cost more than scoring,
        # and sent between processes, whose hashes of strings differ.
        fields = (self.source.value, self.vector_length, self.named)
        object.__setattr__(self, "_hash", zlib.crc32(repr(fields).encode()))
        is_vector = self.source is ContextSource.VECTOR
        if is_vector and not (1 <= self.vector_length <= LONGEST_VECTOR):
            raise InvalidInput(
                "settings.context.vector.length", f"must be from 1 to {LONGEST_VECTOR}"
            )
        if not is_vector and self.vector_length != 0:
            raise InvalidInput("settings.context.vector.length", "is for vectors only")
        if len(self.named) > MOST_NAMED_FEATURES:
            raise InvalidInput("settings.features", f"at most {MOST_NAMED_FEATURES}")
        if len({feature.name for feature in self.named}) < len(self.named):
            raise InvalidInput("settings.features.name", "each name at most once")

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """Which detector watches each head."""

    quality: Detector = Detector.CUSUM
    cost: Detector = Detector.CUSUM
    latency: Detector = Detector.CUSUM

    def of(self, objective: Objective) -> Detector:
        """The detector of that head."""
        detector: Detector = getattr(self, objective.label)
        return detector


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """
    Everything about a policy that its owner may set.

    temperature          tau, scales the posterior deviation in Thompson sampling; 0 to 100
    alpha                the bonus of LinUCB in deviations; 0 to 100
    epsilon              the share of uniform choice in epsilon-greedy; 0 to 1
    objectives           the heads that are learned
    cost_range           USD; None: follows the catalog's prices (see `policies/utility.py`)
    latency_range_ms     milliseconds
    quality_prior_mean   expected quality of an arm not yet tried; 0 to 2
    unpriced_list_usd    USD that stand in for the list price of an arm without one; fixed when the
                         policy is made; None: the geometric middle of the cost range
    half_life_hours      age at which an outcome counts half, per objective; absent: never
    drift                what watches for change; after an alarm earlier outcomes count 0.02, and
                         later ones fade (`learning/decay.py`)
    profiles             trade-offs that requests may ask for by name
    rules                arms that requests with certain labels are kept to
    explore_quota        decisions for which an arm added later is tried before it stands on its
                         record; 0 to 10,000
    reward_windows       how long outcomes are waited for, per objective; absent: for ever
    when_offline         what callers get while decisions cannot be stored
    """

    algorithm: Algorithm = Algorithm.THOMPSON
    temperature: float = 0.25
    alpha: float = 0.2
    epsilon: float = 0.05
    context: ContextSettings = ContextSettings()
    objectives: tuple[Objective, ...] = HEADS
    default_preference: Preference = DEFAULT_PREFERENCE
    cost_form: CostForm = CostForm.LOG
    cost_range: Range | None = None
    latency_range_ms: Range = Range(300.0, 30_000.0)
    quality_prior_mean: float = 0.9
    unpriced_list_usd: float | None = None
    half_life_hours: Mapping[Objective, float] = field(default_factory=lambda: MappingProxyType({}))
    drift: DriftSettings = DriftSettings()
    profiles: Mapping[str, Tradeoff] = field(default_factory=lambda: MappingProxyType({}))
    rules: tuple[LabelRule, ...] = ()
    explore_quota: int = 20
    reward_windows: Mapping[Objective, RewardWindow] = field(default_factory=lambda: NO_WINDOWS)
    when_offline: WhenOffline = WhenOffline.SERVE

    def __post_init__(self) -> None:
        for name in ("temperature", "alpha"):
            if not 0 <= getattr(self, name) <= MOST_EXPLORATION:
                raise InvalidInput(f"settings.{name}", f"must be from 0 to {MOST_EXPLORATION:g}")
        if not 0 <= self.epsilon <= 1:
            raise InvalidInput("settings.epsilon", "must be from 0 to 1")
        if not 0 <= self.quality_prior_mean <= MOST_OPTIMISM:
            raise InvalidInput(
                "settings.quality_prior_mean", f"must be from 0 to {MOST_OPTIMISM:g}"
            )
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise InvalidInput("settings.objectives", "at least one, each at most once")
        if Objective.QUALITY not in self.objectives:
            raise InvalidInput("settings.objectives", "quality is always learned")
        missing = self.default_preference.needs() - set(self.objectives)
        if missing:
            raise InvalidInput(
                f"settings.default_preference.{min(missing).label}", "is not learned"
            )
        for objective, hours in self.half_life_hours.items():
            if not (math.isfinite(hours) and hours > 0):
                raise InvalidInput(
                    f"settings.half_life_hours.{objective.label}", "must be a finite number above 0"
                )
        if not 0 <= self.explore_quota <= MOST_TRIALS:
            raise InvalidInput("settings.explore_quota", f"must be from 0 to {MOST_TRIALS}")
        self._check_profiles()
        self._check_windows()
        if len(self.rules) > MOST_RULES:
            raise InvalidInput("settings.rules", f"at most {MOST_RULES}")
        object.__setattr__(self, "objectives", tuple(sorted(self.objectives)))
        object.__setattr__(self, "half_life_hours", MappingProxyType(dict(self.half_life_hours)))
        object.__setattr__(self, "profiles", MappingProxyType(dict(sorted(self.profiles.items()))))
        windows = MappingProxyType(dict(sorted(self.reward_windows.items())))
        object.__setattr__(self, "reward_windows", windows)

    @property
    def longest_window(self) -> timedelta:
        """After which no outcome of a decision made now counts any more; 0 without windows."""
        hours = [window.hours for window in self.reward_windows.values()]
        return timedelta(hours=max(hours, default=0.0))

    def _check_profiles(self) -> None:
        if len(self.profiles) > MOST_PROFILES:
            raise InvalidInput("settings.profiles", f"at most {MOST_PROFILES}")
        for name, tradeoff in self.profiles.items():
            path = f"settings.profiles[{name}]"
            checked_name(path, name)
            missing = tradeoff.needs() - set(self.objectives)
            if missing:
                raise InvalidInput(path, f"{min(missing).label} is not learned")

    def _check_windows(self) -> None:
        for objective, window in self.reward_windows.items():
            path = f"settings.reward_windows[{objective.label}]"
            if objective not in self.objectives:
                raise InvalidInput(path, "is not learned")
            try:
                check_default(objective, window.default)
            except InvalidInput as error:
                raise InvalidInput(f"{path}.default_value", error.problem) from None


@dataclass(frozen=True)
class Policy:
    """
    A policy with its arms, tombstones included; every change makes a successor with version + 1.

    Its rules name arms that it has or had.  An arm's removal leaves them as they are: requests kept
    to it have one arm less, never another one instead.

    key           32 secret bytes: seeds the draw of each decision, see `policies/draw.py`
    budget        None: spending is not limited
    budget_epoch  version of the policy that set the budget; its account begins with it
    tenant        whose it is; names are a tenant's own
    """

    id: PolicyId
    name: str
    settings: PolicySettings
    key: bytes
    created_at: datetime
    version: int = 1
    arms: tuple[Arm, ...] = ()
    is_archived: bool = False
    budget: Budget | None = None
    budget_epoch: int = 0
    tenant: Tenant = DEFAULT_TENANT

    def __post_init__(self) -> None:
        checked_name("policy.name", self.name)
        if len(self.key) != KEY_BYTES:
            raise InvalidInput("key", f"must be {KEY_BYTES} bytes")
        if len(self.present_arms) > MOST_ARMS:
            raise InvalidInput("arms", f"at most {MOST_ARMS}")
        if self.budget is not None and Objective.COST not in self.settings.objectives:
            raise InvalidInput("budget", "cost is not learned by the policy")
        if Objective.COST not in self.settings.objectives and any(
            arm.explore_limit_usd is not None for arm in self.present_arms
        ):
            raise InvalidInput("arm.explore_limit_usd", "cost is not learned by the policy")
        names = [arm.name for arm in self.present_arms]
        if len(set(names)) < len(names):
            raise InvalidInput("arms.name", "each name at most once")
        known = {arm.name for arm in self.arms}
        for position, rule in enumerate(self.settings.rules):
            for place, arm_name in enumerate(rule.arms):
                if arm_name not in known:
                    path = f"settings.rules[{position}].arms[{place}]"
                    raise UnknownArmNamed(path, arm_name)

    @cached_property
    def names(self) -> Mapping[bytes, str]:
        """The name of every arm, retired or not, by its `arm_key`."""
        return {arm_key(arm.id): arm.name for arm in self.arms}

    @property
    def full_name(self) -> str:
        """
        For those who see all tenants': its name, behind its tenant's unless that is the default.

        No two are alike: what stands before the first slash, if there is one, is the tenant.
        """
        if self.tenant == DEFAULT_TENANT and "/" not in self.name:
            return self.name
        return f"{self.tenant}/{self.name}"

    @property
    def present_arms(self) -> tuple[Arm, ...]:
        """The arms that are not retired."""
        return tuple(arm for arm in self.arms if arm.status is not ArmStatus.RETIRED)

    def arm_named(self, name: str) -> Arm:
        """The arm of that name that is not retired."""
        for arm in self.present_arms:
            if arm.name == name:
                return arm
        raise UnknownArm(name)

    def arm(self, arm_id: ArmId) -> Arm:
        """The arm with that id, retired or not."""
        for arm in self.arms:
            if arm.id == arm_id:
                return arm
        raise UnknownArm(str(arm_id))
