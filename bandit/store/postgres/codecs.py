"""Domain values to rows and back, without loss."""

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np

from bandit.domain.arm import ArmId
from bandit.domain.budget import Budget, Charge
from bandit.domain.decision import CANDIDATE, Decision, DecisionId, day_of
from bandit.domain.errors import CorruptPosterior
from bandit.domain.label_rule import LabelRule
from bandit.domain.objective import Objective
from bandit.domain.policy import (
    Algorithm,
    ContextSettings,
    ContextSource,
    CostForm,
    Detector,
    DriftSettings,
    NamedFeature,
    PolicyId,
    PolicySettings,
    Range,
    WhenOffline,
)
from bandit.domain.preference import Preference, Tradeoff, WillingnessToPay
from bandit.domain.price import Price
from bandit.domain.reward_window import RewardWindow
from bandit.learning.sums import Sums, packed_length
from bandit.store.postgres.deadlines import deadlines_bytes, deadlines_from

_FORMAT = b"\x01"
_HEADER = len(_FORMAT) + 4
_NO_CHARGE: tuple[None, ...] = (None,) * len(fields(Charge))


def settings_json(settings: PolicySettings) -> dict[str, Any]:
    """What is kept of the settings in `policy.settings`."""
    return {
        "algorithm": settings.algorithm.value,
        "temperature": settings.temperature,
        "alpha": settings.alpha,
        "epsilon": settings.epsilon,
        "context": {
            "source": settings.context.source.value,
            "vector_length": settings.context.vector_length,
            "named": [asdict(feature) for feature in settings.context.named],
        },
        "objectives": [objective.label for objective in settings.objectives],
        "default_preference": asdict(settings.default_preference),
        "cost_form": settings.cost_form.value,
        "cost_range": None if settings.cost_range is None else asdict(settings.cost_range),
        "latency_range_ms": asdict(settings.latency_range_ms),
        "quality_prior_mean": settings.quality_prior_mean,
        "unpriced_list_usd": settings.unpriced_list_usd,
        "half_life_hours": {o.label: hours for o, hours in settings.half_life_hours.items()},
        "drift": {o.label: settings.drift.of(o).value for o in Objective},
        "explore_quota": settings.explore_quota,
        "when_offline": settings.when_offline.value,
        "profiles": {name: asdict(tradeoff) for name, tradeoff in settings.profiles.items()},
        "rules": [asdict(rule) for rule in settings.rules],
        "reward_windows": {o.label: asdict(kept) for o, kept in settings.reward_windows.items()},
    }


def settings_from(kept: Mapping[str, Any]) -> PolicySettings:
    """
    The settings in `policy.settings`.

    Numbers are brought back to float: jsonb returns 1e22 as an integer.  Keys of a later release
    are passed over, and what an earlier one did not write has its default.
    """
    made: dict[str, Any] = {
        name: float(kept[name])
        for name in ("temperature", "alpha", "epsilon", "quality_prior_mean")
        if name in kept
    }
    if "drift" in kept:
        made["drift"] = DriftSettings(
            **{label: Detector(detector) for label, detector in kept["drift"].items()}
        )
    if "explore_quota" in kept:
        made["explore_quota"] = int(kept["explore_quota"])
    if "when_offline" in kept:
        made["when_offline"] = WhenOffline(kept["when_offline"])
    if "algorithm" in kept:
        made["algorithm"] = Algorithm(kept["algorithm"])
    if "cost_form" in kept:
        made["cost_form"] = CostForm(kept["cost_form"])
    if "context" in kept:
        made["context"] = _context_from(kept["context"])
    if "objectives" in kept:
        made["objectives"] = tuple(_objective(label) for label in kept["objectives"])
    if "default_preference" in kept:
        made["default_preference"] = _preference_from(kept["default_preference"])
    if "profiles" in kept:
        made["profiles"] = {
            name: WillingnessToPay(float(tradeoff["usd"]))
            if "usd" in tradeoff
            else _preference_from(tradeoff)
            for name, tradeoff in kept["profiles"].items()
        }
    if "rules" in kept:
        made["rules"] = tuple(
            LabelRule(rule["label"], rule["value"], tuple(rule["arms"])) for rule in kept["rules"]
        )
    if "reward_windows" in kept:
        made["reward_windows"] = {
            _objective(label): RewardWindow(
                float(window["hours"]),
                None if window["default"] is None else float(window["default"]),
            )
            for label, window in kept["reward_windows"].items()
        }
    if kept.get("unpriced_list_usd") is not None:
        made["unpriced_list_usd"] = float(kept["unpriced_list_usd"])
    if kept.get("cost_range") is not None:
        made["cost_range"] = _range_from(kept["cost_range"])
    if "latency_range_ms" in kept:
        made["latency_range_ms"] = _range_from(kept["latency_range_ms"])
    if "half_life_hours" in kept:
        made["half_life_hours"] = {
            _objective(label): float(hours) for label, hours in kept["half_life_hours"].items()
        }
    return PolicySettings(**made)


def _context_from(kept: Mapping[str, Any]) -> ContextSettings:
    return ContextSettings(
        source=ContextSource(kept["source"]),
        vector_length=kept["vector_length"],
        named=tuple(
            NamedFeature(
                name=feature["name"],
                mean=float(feature["mean"]),
                deviation=float(feature["deviation"]),
            )
            for feature in kept["named"]
        ),
    )


def _range_from(kept: Mapping[str, Any]) -> Range:
    return Range(low=float(kept["low"]), high=float(kept["high"]))


def _objective(label: str) -> Objective:
    return Objective[label.upper()]


def _preference_from(kept: Mapping[str, Any]) -> Preference:
    return _preference(*(float(kept[name]) for name in ("quality", "cost", "latency")))


def _preference(quality: float, cost: float, latency: float) -> Preference:
    """The preference as it was: normalising it once more could change the last bit."""
    preference = object.__new__(Preference)
    for name, weight in (("quality", quality), ("cost", cost), ("latency", latency)):
        object.__setattr__(preference, name, weight)
    return preference


def decision_row(decision: Decision) -> tuple[Any, ...]:
    """
    The values of `schema.decision`'s columns, in their order.

    Numbers are made plain floats: an array of them may not mix int, float and NumPy's.
    """
    tradeoff, price = decision.tradeoff, decision.price
    weights: tuple[float | None, ...] = (None, None, None)
    usd: float | None = None
    if isinstance(tradeoff, Preference):
        weights = tradeoff.weights
    else:
        usd = float(tradeoff.usd)
    prices: tuple[float | None, ...] = (None, None, None)
    if price is not None:
        prices = tuple(
            map(float, (price.input_usd_per_million, price.output_usd_per_million, price.fee_usd))
        )
    return (
        decision.policy_id,
        day_of(decision.id),
        decision.id,
        decision.at,
        decision.arm_id,
        float(decision.propensity),
        decision.context.astype("<f4", copy=False).tobytes(),
        decision.schema_id,
        decision.fingerprint,
        *weights,
        usd,
        decision.input_tokens,
        float(decision.list_usd),
        *prices,
        decision.policy_version,
        decision.snapshot_version,
        decision.candidates.tobytes(),
        json.dumps(dict(decision.labels)) if decision.labels else "{}",
        *_charge_values(decision.charge),
        deadlines_bytes(decision.deadlines),
        decision.is_deferred,
        decision.activated_at,
    )


def decision_from(row: Sequence[Any]) -> Decision:
    """The decision in a row of `schema.decision`."""
    (policy_id, _, decision_id, at, arm_id, propensity, context, schema_id, fingerprint) = row[:9]
    (quality, cost, latency, usd, input_tokens, list_usd) = row[9:15]
    (input_usd, output_usd, fee_usd, policy_version, snapshot_version, candidates) = row[15:21]
    tradeoff: Tradeoff = (
        WillingnessToPay(usd) if usd is not None else _preference(quality, cost, latency)
    )
    return Decision(
        id=DecisionId(decision_id),
        policy_id=PolicyId(policy_id),
        at=utc(at),
        arm_id=ArmId(arm_id),
        propensity=propensity,
        context=np.frombuffer(context, dtype="<f4"),
        schema_id=schema_id,
        fingerprint=fingerprint,
        tradeoff=tradeoff,
        input_tokens=input_tokens,
        list_usd=list_usd,
        price=None if input_usd is None else Price(input_usd, output_usd, fee_usd),
        policy_version=policy_version,
        snapshot_version=snapshot_version,
        candidates=np.frombuffer(candidates, dtype=CANDIDATE),
        labels=row[21],
        charge=None if row[22] is None else Charge(*row[22:30]),
        deadlines=deadlines_from(row[30]),
        is_deferred=bool(row[31]),  # null before there was such a thing
        activated_at=None if row[32] is None else utc(row[32]),
    )


def _charge_values(charge: Charge | None) -> tuple[Any, ...]:
    if charge is None:
        return _NO_CHARGE
    amounts = (
        charge.price,
        charge.balance,
        charge.utilisation,
        charge.overshoot_usd,
        charge.expected_usd,
        charge.reserved_usd,
    )
    plain = (None if amount is None else float(amount) for amount in amounts)
    return (charge.epoch, *plain, charge.limit_name)


def budget_json(budget: Budget | None) -> dict[str, Any] | None:
    """What is kept of a budget in `policy.budget`."""
    return None if budget is None else asdict(budget)


def budget_from(kept: Mapping[str, Any] | None) -> Budget | None:
    """The budget in `policy.budget`; keys of a later release are passed over."""
    if kept is None:
        return None
    known = {field.name for field in fields(Budget)}
    made: dict[str, Any] = {
        name: None if value is None else float(value)
        for name, value in kept.items()
        if name in known
    }
    return Budget(**made)


def sums_bytes(sums: Sums) -> bytes:
    """
    The sums without their epoch, so that a flipped bit is found.

    format (1 byte, 1) | CRC-32 of format and values (4 bytes) | values (float64), little-endian
    """
    values = sums.values.astype("<f8", copy=False).tobytes()
    return _FORMAT + zlib.crc32(_FORMAT + values).to_bytes(4, "little") + values


def sums_from(kept: bytes, *, epoch: datetime) -> Sums:
    """The sums in `sums_bytes`; CorruptPosterior where they are not what was written."""
    if kept[:1] != _FORMAT:
        raise CorruptPosterior(f"the stored sums have no known format: {kept[:1].hex() or 'empty'}")
    written, values = kept[1:_HEADER], kept[_HEADER:]
    if zlib.crc32(_FORMAT + values).to_bytes(4, "little") != written:
        raise CorruptPosterior("the stored sums do not match their checksum")
    numbers = np.frombuffer(values, dtype="<f8").astype(np.float64)  # aligned, as kernels need it
    features = (math.isqrt(max(8 * len(numbers) - 7, 0)) - 3) // 2  # packed_length, solved
    if features < 1 or packed_length(features) != len(numbers):
        raise CorruptPosterior(f"the stored sums have an impossible length: {len(numbers)}")
    return Sums(values=numbers, features=features, epoch=utc(epoch))


def memory_bytes(memory: Sequence[float]) -> bytes:
    """What a detector of change keeps, in the format of `sums_bytes`."""
    values = np.array(memory, dtype="<f8").tobytes()
    return _FORMAT + zlib.crc32(_FORMAT + values).to_bytes(4, "little") + values


def memory_from(kept: bytes) -> tuple[float, ...]:
    """What `memory_bytes` wrote; (), a new beginning, where it is not that."""
    written, values = kept[1:_HEADER], kept[_HEADER:]
    if kept[:1] != _FORMAT or zlib.crc32(_FORMAT + values).to_bytes(4, "little") != written:
        return ()
    return tuple(np.frombuffer(values, dtype="<f8").tolist())


def prior_bytes(sums: bytes) -> bytes:
    """The sums of an offline prior, in the format of `sums_bytes`."""
    return _FORMAT + zlib.crc32(_FORMAT + sums).to_bytes(4, "little") + sums


def prior_sums(kept: bytes) -> bytes:
    """
    The sums in `prior_bytes`; empty where they are not what was written.

    An arm whose prior has no sums says so in its learned state; its policy is served all the same.
    """
    sums = kept[_HEADER:]
    return sums if kept == prior_bytes(sums) else b""


def utc(moment: datetime) -> datetime:
    """The same moment with Python's own UTC; the driver has another one."""
    return moment.astimezone(UTC)


def uuid_from(payload: str) -> UUID | None:
    """The id in a notification's payload; None where it holds none."""
    try:
        return UUID(payload)
    except ValueError:
        return None
