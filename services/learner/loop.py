"""The learner's loop: fold what is due, for every policy, until told to stop."""

import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from threading import Event

from bandit.domain.arm import Arm
from bandit.domain.errors import BanditError, Conflict, Contended, Unavailable
from bandit.domain.policy import Policy, PolicyId
from bandit.routing.learner import MICRO_BATCH, Folded, fold_due
from bandit.routing.misfit import Misfit
from bandit.routing.ports import Catalog, Cell, LearningStore
from bandit.routing.watching import Raised
from services.logs import Outage, logger

SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
PARTITIONS_EVERY = timedelta(hours=1)
GRADUATION_EVERY = timedelta(milliseconds=500)
SNAPSHOTS_EVERY = timedelta(seconds=30)  # how often it is looked whether one is due
MOST_TOLD = 5  # of what one micro-batch sets aside
MOST_ATTEMPTS = 6  # at a micro-batch that other writers get in the way of
LONGEST_BACKOFF_S = 0.02  # before the second attempt; doubles, and a random part of it is waited

_log = logger(__name__)


class Learner:
    """
    Folds outcomes into posteriors, a micro-batch at a time.

    Any number may run on one database: a policy that another one is at is passed over.

    told  takes each micro-batch with the seconds that it took; None: nobody is told
    """

    def __init__(
        self,
        store: LearningStore,
        catalog: Catalog,
        *,
        make_partitions: Callable[[datetime], int],
        drop_old: Callable[[datetime], None] = lambda _: None,
        graduate: Callable[[Policy, datetime], Sequence[Arm]],
        keep_snapshot: Callable[[Policy, datetime], int | None],
        clock: Callable[[], datetime],
        interval_s: float,
        told: Callable[[Policy, Folded, float], None] | None = None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._make_partitions = make_partitions
        self._drop_old = drop_old
        self._graduate = graduate
        self._graduated_at: datetime | None = None
        self._graduation_outage = Outage(_log, "letting new arms stand on their record")
        self._keep_snapshot = keep_snapshot
        self._snapshots_at: datetime | None = None
        self._snapshot_outage = Outage(_log, "keeping what was learned as it was")
        self._clock = clock
        self._interval_s = interval_s
        self._told = told
        self._policies: dict[PolicyId, Policy] = {}
        self._partitions_at: datetime | None = None
        self._outage = Outage(_log, "learning")
        self._troubles: dict[PolicyId, Outage] = {}
        self._faults: dict[tuple[PolicyId, Cell], str] = {}

    def run(self, stopping: Event, *, tell_ready: Callable[[], None] = lambda: None) -> None:
        """
        Learn until `stopping` is set, which is looked at between micro-batches.

        In a round each policy has one micro-batch, so that a long line keeps no other waiting;
        as long as one of them was full, the next round follows at once.
        """
        pause_s = SHORTEST_PAUSE_S
        is_ready = False
        while not stopping.is_set():
            started = time.monotonic()
            try:
                self._keep_partitions()
                has_more = self._learn(stopping)
                self._let_graduate()
                self._keep_snapshots()
            except Exception as error:
                # Whatever it is, learning must go on when it is over.
                self._outage.began(error, with_stack=not isinstance(error, BanditError))
                stopping.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            self._outage.ended()
            pause_s = SHORTEST_PAUSE_S
            if not is_ready:
                is_ready = True
                tell_ready()
            if not has_more:
                stopping.wait(max(0.0, self._interval_s - (time.monotonic() - started)))

    def _keep_partitions(self) -> None:
        now = self._clock()
        if self._partitions_at is None or now - self._partitions_at >= PARTITIONS_EVERY:
            self._make_partitions(now)
            self._drop_old(now)
            self._partitions_at = now

    def _let_graduate(self) -> None:
        """See which new arms have been tried enough."""
        now = self._clock()
        if self._graduated_at is not None and now - self._graduated_at < GRADUATION_EVERY:
            return
        self._graduated_at = now
        self._read_policies()
        for policy in self._policies.values():
            if policy.is_archived:
                continue
            try:
                graduates = self._graduate(policy, now)
            except Unavailable:
                raise
            except Exception as error:
                # One policy's trouble must not keep the others' arms in exploration.
                self._graduation_outage.began(error, with_stack=True)
                continue
            for arm in graduates:
                _log.info("an arm was tried enough", policy=policy.full_name, arm=arm.name)

    def _keep_snapshots(self) -> None:
        """See of which policies a snapshot is due."""
        now = self._clock()
        if self._snapshots_at is not None and now - self._snapshots_at < SNAPSHOTS_EVERY:
            return
        self._snapshots_at = now
        self._read_policies()
        for policy in self._policies.values():
            try:
                kept = self._keep_snapshot(policy, now)
            except Contended:
                continue  # a little later will do
            except Unavailable:
                raise
            except Exception as error:
                # One policy's trouble must not keep the others' history short.
                self._snapshot_outage.began(error, with_stack=True)
                continue
            if kept is not None:
                _log.debug("kept a snapshot", policy=policy.full_name, snapshot=kept)

    def _learn(self, stopping: Event) -> bool:
        """One micro-batch per policy; whether any was full."""
        has_more = False
        due = self._store.policies_with_due(now=self._clock())
        if due:
            self._read_policies()
        for policy_id in due:
            if stopping.is_set():
                break
            policy = self._policies.get(policy_id)
            if policy is None:
                continue  # made since the policies were read: the next round finds it
            trouble = self._troubles.setdefault(
                policy_id, Outage(_log, f"learning of policy {policy.full_name!r}")
            )
            try:
                has_more |= self._fold(policy, stopping)
            except (Contended, Conflict) as error:
                # Others are at the same rows again and again: the next round tries anew.
                trouble.began(error)
            except Unavailable:
                raise
            except Exception as error:
                # One policy that cannot be learned must not keep the others from it.
                trouble.began(error, with_stack=True)
            else:
                trouble.ended()
        return has_more

    def _read_policies(self) -> None:
        """Bring the policies held here up to date."""
        versions = self._catalog.versions()
        held = self._policies
        if any(
            policy_id not in held or held[policy_id].version != counted.policy
            for policy_id, counted in versions.items()
        ):
            self._policies = {policy.id: policy for policy in self._catalog.list()}

    def _fold(self, policy: Policy, stopping: Event) -> bool:
        """Fold one micro-batch, unless another learner is at it; whether it was full."""
        began = time.perf_counter()
        folded = self._folded(policy, stopping)
        if folded is None:
            return False
        if self._told is not None:
            self._told(policy, folded, time.perf_counter() - began)
        for cell, fault in (folded.faults or {}).items():
            self._tell_fault(policy, cell, fault)
        for misfit in folded.misfits[:MOST_TOLD]:
            self._tell_misfit(policy, misfit)
        if len(folded.misfits) > MOST_TOLD:
            _log.error("and more was set aside", policy=policy.full_name, count=len(folded.misfits))
        for raised in folded.alarms:
            _tell_alarm(policy, raised)
        if folded.learned_version is not None:
            _log.debug(
                "learned",
                policy=policy.full_name,
                settled=folded.settled,
                learned_version=folded.learned_version,
            )
        return folded.settled + folded.held >= MICRO_BATCH

    def _folded(self, policy: Policy, stopping: Event) -> Folded | None:
        """
        One micro-batch, tried again while other writers are in the way.

        Whoever met waits a random time, so that they do not meet again.
        """
        for attempt in range(1, MOST_ATTEMPTS):
            try:
                return fold_due(self._store, policy, now=self._clock())
            except (Contended, Conflict) as error:
                _log.debug("others were in the way", policy=policy.full_name, error=str(error))
                stopping.wait(random.uniform(0, LONGEST_BACKOFF_S * 2**attempt))  # noqa: S311
        return fold_due(self._store, policy, now=self._clock())

    def _tell_misfit(self, policy: Policy, misfit: Misfit) -> None:
        _log.error(
            "something of the log cannot be learned, it is set aside",
            policy=policy.full_name,
            kind=misfit.kind,
            key=misfit.key,
            reason=misfit.reason,
        )

    def _tell_fault(self, policy: Policy, cell: Cell, fault: str) -> None:
        if self._faults.get((policy.id, cell)) == fault:
            return
        self._faults[policy.id, cell] = fault
        _log.error(
            "stored sums cannot be used, their outcomes wait",
            policy=policy.full_name,
            arm=policy.arm(cell[0]).name,
            objective=cell[1].label,
            fault=fault,
        )


def _tell_alarm(policy: Policy, raised: Raised) -> None:
    arm_id, objective = raised.cell
    _log.warning(
        "an arm has changed, what was learned of it before counts less",
        policy=policy.full_name,
        arm=policy.arm(arm_id).name,
        objective=objective.label,
        direction=raised.finding.direction.value,
        statistic=round(raised.finding.statistic, 2),
        observations=raised.observations,
        decided_until=raised.alarm.at.isoformat(),
    )
