from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from services.telemetry.instruments import GroupedHistogram

BUCKETS = (0.5, 1.0, 2.0)
amounts = st.lists(st.sampled_from([0.0, 0.5, 0.75, 1.0, 1.25, 2.0, 3.0, 64.0]), min_size=1)


def samples(kind: type[Histogram]) -> tuple[Histogram, CollectorRegistry]:
    registry = CollectorRegistry()
    return kind("h", "Some.", ["of"], registry=registry, buckets=BUCKETS), registry


@given(amounts=amounts)
def test_many_at_once_are_as_many_one_by_one(amounts: list[float]) -> None:
    together, told = samples(GroupedHistogram)
    alone, expected = samples(Histogram)

    together.labels("a").observe_all(amounts)
    for amount in amounts:
        alone.labels("a").observe(amount)

    for name in ("h_bucket", "h_sum", "h_count"):
        for end in ("0.5", "1.0", "2.0", "+Inf") if name == "h_bucket" else ("",):
            labels = {"of": "a"} | ({"le": end} if end else {})
            assert told.get_sample_value(name, labels) == expected.get_sample_value(name, labels)
