"""Small notations of the command line, such as `gpt-4o=2.5,10`, and what they mean."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from bandit.domain.budget import Budget
from bandit.domain.errors import InvalidInput
from bandit.domain.label_rule import LabelRule
from bandit.domain.objective import Objective
from bandit.domain.policy import Detector, DriftSettings, NamedFeature, Range
from bandit.domain.preference import Preference, Tradeoff, WillingnessToPay
from bandit.domain.price import Price
from bandit.domain.reward_window import RewardWindow, check_default

if TYPE_CHECKING:
    from bandit.client import Arm


def arm(text: str) -> "Arm":
    """`NAME` or `NAME=IN,OUT[,FEE]`, in USD per million tokens and USD per call."""
    from bandit.client import Arm

    name, separator, price_text = text.rpartition("=")
    if not separator:
        return Arm(text)
    return Arm(name, price=price(price_text, field=f"--arm {name}"))


def price(text: str, *, field: str = "price") -> Price:
    """`IN,OUT[,FEE]`, in USD per million tokens and USD per call."""
    amounts = _numbers(field, text, "IN,OUT[,FEE], as in 2.5,10", lengths=(2, 3))
    return Price(*amounts)


def budget(
    *,
    target_usd: float | None,
    quality_floor: float | None,
    limit: float | None,
    window_hours: float,
) -> Budget:
    """What the options of `budget set` say; what is wrong is told by the option's name."""
    options = {
        "budget": "--target-usd, --quality-floor or --limit",
        "budget.target_usd": "--target-usd",
        "budget.quality_floor": "--quality-floor",
        "budget.limit_usd": "--limit",
        "budget.window_hours": "--window-hours",
    }
    try:
        return Budget(target_usd, quality_floor, limit, window_hours)
    except InvalidInput as error:
        raise InvalidInput(options[error.field], error.problem) from None


def preference(text: str, *, option: str = "--preference") -> Preference:
    """`quality=0.8,cost=0.2`, with latency too if it matters."""
    weights = _by_objective(option, text, "quality=0.8,cost=0.2")
    return Preference(**{objective.label: weight for objective, weight in weights.items()})


def half_lives(text: str) -> Mapping[Objective, float]:
    """`quality=168,cost=24`, in hours."""
    return _by_objective("--half-life-hours", text, "quality=168,cost=24")


def drift(text: str, *, kept: DriftSettings) -> DriftSettings:
    """`off` or another detector for all, `quality=adwin,cost=off` for some, or nothing: as kept."""
    if not text:
        return kept
    if "=" not in text:
        return DriftSettings(*[_detector(text)] * len(Objective))
    changed = {}
    for part in text.split(","):
        label, _, detector = part.partition("=")
        changed[_objective("--drift", label).label] = _detector(detector)
    return replace(kept, **changed)


def _detector(text: str) -> Detector:
    try:
        return Detector(text.strip())
    except ValueError:
        known = ", ".join(detector.value for detector in Detector)
        raise InvalidInput("--drift", f"{text!r} is not one of {known}") from None


def range_of(option: str, text: str) -> Range:
    """`LO,HI`."""
    low, high = _numbers(option, text, "LO,HI, as in 0.0001,0.01", lengths=(2,))
    try:
        return Range(low, high)
    except InvalidInput as error:
        raise InvalidInput(option, error.problem) from None


def objectives(text: str) -> tuple[Objective, ...]:
    """`quality,cost,latency` or some of them."""
    return tuple(_objective("--objectives", part) for part in text.split(","))


def feature(text: str) -> NamedFeature:
    """`NAME` or `NAME=MEAN,DEVIATION`, in the feature's own unit."""
    name, separator, numbers = text.rpartition("=")
    if not separator:
        return NamedFeature(text)
    field = f"--feature {name}"
    mean, deviation = _numbers(field, numbers, "MEAN,DEVIATION, as in 20,5", lengths=(2,))
    return NamedFeature(name, mean, deviation)


def profiles(texts: Iterable[str], *, kept: Mapping[str, Tradeoff]) -> dict[str, Tradeoff]:
    """
    `NAME=quality=0.8,cost=0.2` or `NAME=USD`, what a unit of quality is worth, each; in addition to
    those `kept`, in place of the one of that name; `NAME=` takes it away.
    """
    result = dict(kept)
    for text in texts:
        name, wanted = _pair("--profile", text)
        option = f"--profile {name}"
        if not wanted:
            if result.pop(name, None) is None:
                raise InvalidInput(option, "is not there to be taken away")
        elif "=" in wanted:
            result[name] = preference(wanted, option=option)
        else:
            result[name] = WillingnessToPay(_number(option, wanted))
    return result


def rules(texts: Iterable[str], *, kept: Iterable[LabelRule]) -> tuple[LabelRule, ...]:
    """
    `LABEL=VALUE:ARM,ARM` each; in addition to those `kept`, in place of those for that label and
    value; `LABEL=VALUE:` takes them away.
    """
    result = list(kept)
    for text in texts:
        label, rest = _pair("--rule", text)
        value, separator, names = rest.partition(":")
        if not separator:
            raise InvalidInput("--rule", f"{text!r} is not LABEL=VALUE:ARM,ARM")
        others = [rule for rule in result if (rule.label, rule.value) != (label, value)]
        if names:
            others.append(LabelRule(label, value, tuple(names.split(","))))
        elif len(others) == len(result):
            raise InvalidInput(f"--rule {label}={value}", "is not there to be taken away")
        result = others
    return tuple(result)


def reward_windows(
    texts: Iterable[str], *, kept: Mapping[Objective, RewardWindow]
) -> dict[Objective, RewardWindow]:
    """
    `OBJECTIVE=HOURS` or `OBJECTIVE=HOURS,DEFAULT` each; in addition to those `kept`, in place of
    that objective's; `OBJECTIVE=` takes it away.
    """
    result = dict(kept)
    for text in texts:
        name, numbers = _pair("--reward-window", text)
        objective = _objective("--reward-window", name)
        option = f"--reward-window {objective.label}"
        if numbers:
            shape = "HOURS[,DEFAULT], as in 24,0"
            try:
                result[objective] = RewardWindow(*_numbers(option, numbers, shape, lengths=(1, 2)))
                check_default(objective, result[objective].default)
            except InvalidInput as error:
                raise InvalidInput(option, error.problem) from None
        elif result.pop(objective, None) is None:
            raise InvalidInput(option, "is not there to be taken away")
    return result


def switch_costs(texts: Iterable[str]) -> dict[str, float]:
    """`ARM=USD` each."""
    costs = {}
    for text in texts:
        name, separator, usd = text.rpartition("=")
        if not separator:
            raise InvalidInput("--switch-cost", f"{text!r} is not ARM=USD")
        costs[name] = _number(f"--switch-cost {name}", usd)
    return costs


def feature_values(texts: Iterable[str]) -> dict[str, float]:
    """`NAME=VALUE` each."""
    values = {}
    for text in texts:
        name, value = _pair("--feature", text)
        values[name] = _number(f"--feature {name}", value)
    return values


def labels(texts: Iterable[str]) -> dict[str, str]:
    """`NAME=TEXT` each."""
    return dict(_pair("--label", text) for text in texts)


def vector(text: str) -> list[float]:
    """Numbers separated by commas."""
    return [_number("--vector", part) for part in text.split(",")]


def script_event(text: str) -> tuple[int, str, str]:
    """`POSITION WHAT WHICH`, three words, as in 600 price gemini=0.1x."""
    words = text.split(maxsplit=2)
    try:
        position, what, which = words
        return int(position), what, which
    except ValueError:
        raise InvalidInput(
            "--at", f"{text!r} is not POSITION WHAT WHICH, as in 600 price gemini=0.1x"
        ) from None


def _by_objective(option: str, text: str, example: str) -> dict[Objective, float]:
    values: dict[Objective, float] = {}
    for part in text.split(","):
        name, separator, number = part.partition("=")
        if not separator:
            raise InvalidInput(option, f"{part!r} is not like {example}")
        objective = _objective(option, name)
        if objective in values:
            raise InvalidInput(option, f"{objective.label} is given twice")
        values[objective] = _number(f"{option} {objective.label}", number)
    return values


def _objective(option: str, name: str) -> Objective:
    for objective in Objective:
        if objective.label == name.strip():
            return objective
    known = ", ".join(objective.label for objective in Objective)
    raise InvalidInput(option, f"{name.strip()!r} is none of {known}")


def _pair(option: str, text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise InvalidInput(option, f"{text!r} is not NAME=VALUE")
    return name, value


def _numbers(field: str, text: str, shape: str, *, lengths: tuple[int, ...]) -> list[float]:
    parts = text.split(",")
    if len(parts) not in lengths:
        raise InvalidInput(field, f"{text!r} is not {shape}")
    return [_number(field, part) for part in parts]


def _number(field: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(field, f"{text.strip()!r} is not a number") from None
