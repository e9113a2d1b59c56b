"""Small notations of the command line, such as `gpt-4o=2.5,10`, and what they mean."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.policy import NamedFeature, Range
from bandit.domain.preference import Preference
from bandit.domain.price import Price

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


def preference(text: str) -> Preference:
    """`quality=0.8,cost=0.2`, with latency too if it matters."""
    weights = _by_objective("--preference", text, "quality=0.8,cost=0.2")
    return Preference(**{objective.label: weight for objective, weight in weights.items()})


def half_lives(text: str) -> Mapping[Objective, float]:
    """`quality=168,cost=24`, in hours."""
    return _by_objective("--half-life-hours", text, "quality=168,cost=24")


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
