"""The two forms of the suite, the short one of every test run and the long one, and their run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.faults.acknowledged import Acknowledged
from tests.faults.checker import checked
from tests.faults.deployment import POLICIES
from tests.faults.load import Load
from tests.faults.schedule import CUTS, KILLS, TROUBLES, Fault, schedule

FLOW, FLOW_WITHIN_S = 20, 10.0
_SETTLED_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Plan:
    """
    Rounds of faults under load; at the end of each all is checked.

    longest_s   no round begins later than that
    least       decisions without which the run says nothing
    """

    seeds: Sequence[int]
    kinds: Sequence[str]
    count: int
    mean_pause_s: float
    longest_s: float
    least: int

    def faults(self, seed: int) -> list[Fault]:
        """Those of one round."""
        return schedule(seed, self.kinds, self.count, mean_pause_s=self.mean_pause_s)


@dataclass(frozen=True, slots=True)
class Form:
    """
    What a run consists of.

    select_within_s  in which a living router answers every selection, whatever the database does
    warm_up_s        of random messages, before memory is measured
    fuzzing_s        of random messages after that
    rubbish_s        of what is no message at all
    windows          without an attack, and as many during it, each of `window_s`
    pause_s          between windows
    share            of the latencies that are compared
    allowance_s      that they may differ by at any rate
    """

    kills: Plan
    cuts: Plan
    select_within_s: float
    warm_up_s: float
    fuzzing_s: float
    rubbish_s: float
    windows: int
    window_s: float
    pause_s: float
    share: float
    allowance_s: float


# One router is left alone, so that there is work to be lost while the other one starts.
_KILLS_OF_SHORT = tuple(kind for kind in KILLS if kind != "other router")

SHORT = Form(
    kills=Plan((1,), (*_KILLS_OF_SHORT, *TROUBLES), 9, 0.5, 60.0, 100),
    cuts=Plan((2,), (*CUTS, *TROUBLES[:2]), 6, 0.5, 60.0, 100),
    select_within_s=2.0,  # beside other tests on the same processors
    warm_up_s=1.5,
    fuzzing_s=2.5,
    rubbish_s=2.0,
    windows=4,
    window_s=0.12,
    pause_s=0.02,
    share=0.9,
    allowance_s=0.25,  # beside other tests on the same processors
)
LONG = Form(
    kills=Plan(range(100, 110), (*KILLS, *KILLS, *KILLS, *TROUBLES), 24, 1.5, 1400.0, 5000),
    cuts=Plan(range(200, 207), (*CUTS, *CUTS, *TROUBLES[:2]), 10, 1.0, 600.0, 2000),
    select_within_s=0.5,
    warm_up_s=60.0,
    fuzzing_s=180.0,
    rubbish_s=60.0,
    windows=5,
    window_s=3.0,
    pause_s=0.1,
    share=0.99,
    allowance_s=0.0,
)


@dataclass
class Tally:
    """
    What a run came to, for the table at its end.

    tell   takes a line about each round, as it ends
    """

    name: str = ""
    kills: int = 0
    interruptions: int = 0
    troubles: int = 0
    decisions: int = 0
    outcomes: int = 0
    slowest_select_s: float = 0.0
    unanswered: int = 0
    selects: int = 0
    rounding: float = 0.0
    took_s: float = 0.0
    findings: list[str] = field(default_factory=list)
    tell: Callable[[str], None] = print

    @property
    def summary(self) -> str:
        """In one line."""
        return (
            f"{self.kills} kills, {self.interruptions} interruptions, {self.troubles} troubles,"
            f" {self.decisions} decisions, {self.outcomes} outcomes, {len(self.findings)} findings"
        )

    def count(self, fault: Fault) -> None:
        """One more of its kind."""
        self.kills += fault.kind in KILLS
        self.interruptions += fault.kind in CUTS
        self.troubles += fault.kind in TROUBLES

    def ask(self, told: Acknowledged, *, within_s: float) -> None:
        """How living routers answered."""
        living = told.of_living_routers()
        self.selects = len(told.asked)
        self.slowest_select_s = max((asked.took_s for asked in living), default=0.0)
        self.unanswered = sum(bool(asked.failure) for asked in living)
        late = [asked for asked in living if asked.failure or asked.took_s > within_s]
        if late:
            self.findings.append(
                f"{len(late)} selections were not answered in {within_s:g} s: {late[0]}"
            )


class Service(Protocol):
    """What faults are done to."""

    targets: Sequence[str]
    database_url: str

    def suffer(self, fault: Fault, load: Load) -> None:
        """Carry out one fault, to its end."""
        ...

    def calm(self) -> None:
        """Return when the service has recovered and caught up."""
        ...


def run(service: Service, plan: Plan, tally: Tally, *, select_within_s: float) -> None:
    """Load the service, do it harm, let it recover and check, once per seed."""
    began = time.monotonic()
    told = Acknowledged()
    try:
        for seed in plan.seeds:
            if time.monotonic() - began > plan.longest_s or tally.findings:
                break
            _run_round(service, plan, seed, told, tally)
            if len(plan.seeds) > 1:
                tally.tell(f"seed {seed}: {tally.summary}")
    finally:
        tally.ask(told, within_s=select_within_s)
        tally.took_s = time.monotonic() - began
    if len(told.decisions) < plan.least:
        tally.findings.append(f"there was little to lose: {len(told.decisions)} decisions")


def _run_round(service: Service, plan: Plan, seed: int, told: Acknowledged, tally: Tally) -> None:
    load = Load(service.targets, list(POLICIES), seed=seed, told=told)
    load.start()
    try:
        for fault in plan.faults(seed):
            time.sleep(fault.pause_s)
            if fault.choice < _SETTLED_SHARE:  # others come while it still recovers
                load.flow(FLOW, within_s=FLOW_WITHIN_S)
            service.suffer(fault, load)
            tally.count(fault)
    finally:
        load.stop()
    service.calm()
    found = checked(service.database_url, told)
    tally.decisions, tally.outcomes = found.decisions, found.outcomes
    tally.rounding = max(tally.rounding, found.rounding)
    tally.findings += [f"seed {seed}: {finding}" for finding in found.findings]
