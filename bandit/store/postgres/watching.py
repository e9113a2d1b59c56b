"""The watch for change: monitors and alarms, for whoever has the transaction."""

from collections import defaultdict
from collections.abc import Collection, Mapping

from sqlalchemy import ARRAY, Connection, Uuid, any_, insert, literal, select, text

from bandit.domain.arm import ArmId
from bandit.domain.objective import Objective
from bandit.domain.policy import Detector, PolicyId
from bandit.learning.alarms import Alarm, Monitor
from bandit.routing.ports import Cell
from bandit.store.postgres import schema
from bandit.store.postgres.codecs import memory_bytes, memory_from, utc

_MONITORS = text(
    """
    insert into drift_monitor
        (policy_id, arm_id, head, latest_at, grown_at, detector, observations, memory)
    select :policy_id, new.* from
        unnest(cast(:arms as uuid[]), cast(:heads as smallint[]), cast(:latest as timestamptz[]),
               cast(:grown as timestamptz[]), cast(:detectors as text[]),
               cast(:observations as bigint[]), cast(:memories as bytea[])) as new
    on conflict (policy_id, arm_id, head) do update set
        latest_at = excluded.latest_at, grown_at = excluded.grown_at, detector = excluded.detector,
        observations = excluded.observations, memory = excluded.memory
    """
)


def alarms_of(connection: Connection, policy_id: PolicyId) -> dict[Cell, tuple[Alarm, ...]]:
    """All alarms of a policy, in order of time; a cell without any is left out."""
    alarms: dict[Cell, list[Alarm]] = defaultdict(list)
    columns = schema.alarm.c
    for row in connection.execute(
        select(schema.alarm).where(columns.policy_id == policy_id).order_by(columns.at)
    ):
        cell = (ArmId(row.arm_id), Objective(row.head))
        raised_at = None if row.raised_at is None else utc(row.raised_at)
        alarms[cell].append(Alarm(utc(row.at), row.weight, row.fading_hours, raised_at))
    return {cell: tuple(of_cell) for cell, of_cell in alarms.items()}


def monitors_in(
    connection: Connection, policy_id: PolicyId, cells: Collection[Cell]
) -> dict[Cell, Monitor]:
    """The monitors of these cells with their alarms; one never watched is left out."""
    arms = literal(list({arm_id for arm_id, _ in cells}), ARRAY(Uuid))
    monitor = schema.drift_monitor.c
    alarms = alarms_of(connection, policy_id)
    held = {}
    for row in connection.execute(
        select(schema.drift_monitor).where(
            monitor.policy_id == policy_id, monitor.arm_id == any_(arms)
        )
    ):
        cell = (ArmId(row.arm_id), Objective(row.head))
        held[cell] = Monitor(
            latest=utc(row.latest_at),
            grown_at=None if row.grown_at is None else utc(row.grown_at),
            detector=Detector(row.detector),
            memory=memory_from(bytes(row.memory)),
            observations=row.observations,
            alarms=alarms.get(cell, ()),
        )
    return {cell: held[cell] for cell in cells if cell in held}


def keep_monitors(
    connection: Connection, policy_id: PolicyId, monitors: Mapping[Cell, Monitor]
) -> None:
    """Store monitors in place of those before, without their alarms."""
    if not monitors:
        return
    cells = sorted(monitors)
    connection.execute(
        _MONITORS,
        {
            "policy_id": policy_id,
            "arms": [arm_id for arm_id, _ in cells],
            "heads": [int(head) for _, head in cells],
            "latest": [monitors[cell].latest for cell in cells],
            "grown": [monitors[cell].grown_at for cell in cells],
            "detectors": [monitors[cell].detector.value for cell in cells],
            "observations": [monitors[cell].observations for cell in cells],
            "memories": [memory_bytes(monitors[cell].memory) for cell in cells],
        },
    )


def log_alarm(connection: Connection, policy_id: PolicyId, cell: Cell, alarm: Alarm) -> None:
    """Store an alarm for good."""
    connection.execute(
        insert(schema.alarm).values(
            policy_id=policy_id,
            arm_id=cell[0],
            head=int(cell[1]),
            at=alarm.at,
            weight=alarm.weight,
            fading_hours=alarm.fading_hours,
            **({} if alarm.raised_at is None else {"raised_at": alarm.raised_at}),
        )
    )
