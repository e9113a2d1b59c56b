"""What a learner counts, and what it measures of the line that is to be learned."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from bandit.domain.policy import Policy, PolicyId
from bandit.routing.learner import Folded
from bandit.store.postgres.line import Line
from services.logs import Outage, logger
from services.telemetry import definitions as d
from services.telemetry.instruments import Instruments, Labelled, PerPolicy

_INTERVAL_S = 2.0
_FAREWELL_S = 1.0

_log = logger(__name__)


class LearnerMetrics:
    """
    Counts micro-batches as they are folded, and looks at the lines in a thread of its own, so that
    a learner that hangs is seen to.

    lines      what waits, per policy; blocks
    policies   all of them; blocks
    """

    def __init__(
        self,
        made: Instruments,
        *,
        lines: Callable[[datetime], Sequence[Line]],
        policies: Callable[[], Sequence[Policy]],
        clock: Callable[[], datetime],
    ) -> None:
        self._folded = Labelled(made.counter(d.FOLDED))
        self._seconds = made.histogram(d.FOLD_SECONDS)
        self._alarms = Labelled(made.counter(d.ALARMS))
        self._pending = PerPolicy(made.gauge(d.PENDING))
        self._age = PerPolicy(made.gauge(d.PENDING_AGE))
        self._quarantined = PerPolicy(made.gauge(d.QUARANTINED))
        self._lines, self._policies, self._clock = lines, policies, clock
        self._known: Mapping[PolicyId, Policy] = {}
        self._outage = Outage(_log, "measuring what waits to be learned")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="metrics", daemon=True)

    def folded(self, policy: Policy, folded: Folded, seconds: float) -> None:
        """A micro-batch was folded."""
        if not folded.settled + folded.held:
            return
        label = policy.full_name
        self._folded[label,].inc(folded.settled)
        self._seconds.observe(seconds)
        for arm_id, objective in folded.written:
            # By nothing: whoever takes a rate has to see where it began.
            self._alarms[label, policy.arm(arm_id).name, objective.label].inc(0)
        for raised in folded.alarms:
            arm_id, objective = raised.cell
            self._alarms[label, policy.arm(arm_id).name, objective.label].inc()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; a look that hangs is not waited for."""
        self._ending.set()
        self._thread.join(_FAREWELL_S)

    def _watch(self) -> None:
        while not self._ending.is_set():
            try:
                self._look()
            except Exception as error:
                # Whatever it is, the next look may succeed, and learning goes on.
                self._outage.began(error)
            else:
                self._outage.ended()
            self._ending.wait(_INTERVAL_S)

    def _look(self) -> None:
        now = self._clock()
        lines = self._lines(now)
        if any(line.policy_id not in self._known for line in lines):
            self._known = {policy.id: policy for policy in self._policies()}
        named = {
            policy.full_name: line
            for line in lines
            if (policy := self._known.get(line.policy_id)) is not None
        }
        self._pending.tell({name: line.entries for name, line in named.items()})
        self._age.tell({name: _age_s(line, now) for name, line in named.items()})
        self._quarantined.tell({name: line.quarantined for name, line in named.items()})


def _age_s(line: Line, now: datetime) -> float:
    return 0.0 if line.since is None else max(0.0, (now - line.since).total_seconds())
