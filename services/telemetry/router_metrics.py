"""What a router counts and measures."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

import prometheus_client
from sqlalchemy import QueuePool

from bandit.domain.arm import ArmId
from bandit.domain.decision import Decision
from bandit.domain.outcome import Receipt
from bandit.domain.policy import Policy, PolicyId
from bandit.routing.backlog import Counts
from bandit.routing.budgets import Budgets
from services.telemetry import definitions as d
from services.telemetry.calls import Ended, short
from services.telemetry.instruments import Instruments, Labelled, PerPolicy
from services.telemetry.sources import Sources

_NS = 1e-9


class RouterMetrics:
    """
    Counts what happens, where it happens; implements `observed.CommitWitness`.

    A write to what is shared costs microseconds.  So decisions are counted a group at a time, and
    the calls that end in one turn of the event loop together.
    """

    def __init__(self, made: Instruments, *, calls_limit: int) -> None:
        self._calls = Labelled(made.counter(d.CALLS))
        self._errors = Labelled(made.counter(d.ERRORS))
        self._seconds = Labelled(made.histogram(d.CALL_SECONDS))
        self._ended: dict[tuple[str, str], list[Ended]] = {}
        self._under_way = made.gauge(d.CALLS_UNDER_WAY)
        self._ready = made.gauge(d.READY)
        self._decisions = Labelled(made.counter(d.DECISIONS))
        self._by_id: dict[tuple[PolicyId, ArmId, bool], prometheus_client.Counter] = {}
        self._low = Labelled(made.counter(d.LOW_PROPENSITIES))
        self._low_by_id: dict[PolicyId, prometheus_client.Counter] = {}
        self._outcomes = Labelled(made.counter(d.OUTCOMES))
        self._backlog = made.gauge(d.BACKLOG)
        self._backlog_age = made.gauge(d.BACKLOG_AGE)
        self._unconfirmed = made.gauge(d.UNCONFIRMED)
        self._fates = Labelled(made.counter(d.FATES))
        self._away = made.gauge(d.AWAY)
        commits = Labelled(made.histogram(d.COMMIT_SECONDS))
        self._decision_commits, self._outcome_commits = commits["decisions",], commits["outcomes",]
        self._rows = made.histogram(d.COMMIT_ROWS)
        self._connections = made.gauge(d.CONNECTIONS)
        self._connections_limit = made.gauge(d.CONNECTIONS_LIMIT)
        self._snapshot_age = PerPolicy(made.gauge(d.SNAPSHOT_AGE))
        self._snapshot_lag = PerPolicy(made.gauge(d.SNAPSHOT_LAG))
        self._price = PerPolicy(made.gauge(d.BUDGET_PRICE))
        self._utilisation = PerPolicy(made.gauge(d.BUDGET_UTILISATION))
        made.gauge(d.CALLS_LIMIT).set(calls_limit)
        self._counts = Counts()
        self._tell_fates(Counts())  # all of them are there from the start, at 0

    # What happens

    def ended(self, call: Ended) -> None:
        """A call ended."""
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._count_calls)
        self._ended.setdefault(call[:2], []).append(call)

    def _count_calls(self) -> None:
        ended, self._ended = self._ended, {}
        for (name, code), calls in ended.items():
            method = short(name)
            self._calls[method, code].inc(len(calls))
            seconds = [call.seconds for call in calls if not call.is_stream]
            if seconds:
                self._seconds[method,].observe_all(seconds)
            if code != "OK":
                for reason, count in Counter(call.reason for call in calls).items():
                    if reason:
                        self._errors[method, reason].inc(count)

    def decided(
        self,
        decisions: Sequence[Decision],
        durable: bool,
        policy_of: Callable[[PolicyId], Policy | None],
    ) -> None:
        """New decisions were made together."""
        groups = Counter((each.policy_id, each.arm_id) for each in decisions)
        for (policy_id, arm_id), count in groups.items():
            part = self._by_id.get((policy_id, arm_id, durable))
            if part is None:
                policy = policy_of(policy_id)
                told = "true" if durable else "false"
                part = self._decisions[_label(policy, policy_id), _arm(policy, arm_id), told]
                self._by_id[policy_id, arm_id, durable] = part
            part.inc(count)
        low = Counter(each.policy_id for each in decisions if each.propensity < d.LOW_PROPENSITY)
        for policy_id in {policy_id for policy_id, _ in groups}:
            # By nothing, too: whoever takes a rate has to see where it began.
            part = self._low_by_id.get(policy_id)
            if part is None:
                part = self._low[_label(policy_of(policy_id), policy_id),]
                self._low_by_id[policy_id] = part
            part.inc(low[policy_id])

    def reported(self, policy: Policy, receipts: Sequence[Receipt]) -> None:
        """A caller was told what became of its values."""
        label = policy.full_name
        for receipt in receipts:
            labels = label, receipt.objective.label, receipt.disposition.value
            self._outcomes[labels].inc()

    def decisions(self, decisions: Sequence[Decision], began_ns: int, ended_ns: int) -> None:
        """See `CommitWitness`."""
        self._decision_commits.observe((ended_ns - began_ns) * _NS)
        self._rows.observe(len(decisions))

    def outcomes(self, began_ns: int, ended_ns: int) -> None:
        """See `CommitWitness`."""
        self._outcome_commits.observe((ended_ns - began_ns) * _NS)

    def ready(self, is_ready: bool) -> None:
        """Whether calls are welcome."""
        self._ready.set(is_ready)

    # What is looked at

    def look(self, sources: Sources, *, under_way: int) -> None:
        """Measure what is there now."""
        self._count_calls()
        backlog, oldest = sources.backlog, sources.backlog.oldest
        self._under_way.set(under_way)
        self._backlog.set(backlog.depth)
        age_s = 0.0 if oldest is None else (sources.clock() - oldest.at).total_seconds()
        self._backlog_age.set(max(0.0, age_s))
        self._unconfirmed.set(backlog.counts.waiting)
        self._away.set(backlog.is_away)
        self._tell_fates(backlog.counts)
        pool = cast("QueuePool", sources.engine.pool)
        self._connections.set(pool.checkedout())
        self._connections_limit.set(pool.size() + max(0, pool._max_overflow))
        standing = sources.snapshots.standing()
        self._snapshot_age.tell({each.policy.full_name: each.age_s for each in standing})
        self._snapshot_lag.tell({each.policy.full_name: each.versions_behind for each in standing})
        self._look_at_budgets(sources.budgets, [each.policy for each in standing])

    def _look_at_budgets(self, budgets: Budgets, policies: Sequence[Policy]) -> None:
        prices, utilisations = {}, {}
        for policy in policies:
            status = budgets.status(policy)
            if policy.budget is None or status is None:
                continue
            price, account = status
            prices[policy.full_name] = price
            utilisation = account.utilisation(policy.budget)
            if utilisation is not None:
                utilisations[policy.full_name] = utilisation
        self._price.tell(prices)
        self._utilisation.tell(utilisations)

    def _tell_fates(self, counts: Counts) -> None:
        new, self._counts = counts.since(self._counts), counts
        for fate, count in (
            ("answered", new.unconfirmed),
            ("stored", new.stored),
            ("conflict", new.conflicts),
            ("dropped", new.dropped),
            ("refused", new.refused),
        ):
            self._fates[fate,].inc(count)


def _label(policy: Policy | None, policy_id: PolicyId) -> str:
    return str(policy_id) if policy is None else policy.full_name


def _arm(policy: Policy | None, arm_id: ArmId) -> str:
    """Never an error: the decision is made, and its caller waits."""
    arms = () if policy is None else policy.arms
    return next((arm.name for arm in arms if arm.id == arm_id), str(arm_id))
