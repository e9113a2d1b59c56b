"""What a Prometheus would see."""

import urllib.request
from collections import Counter
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "bandit_router_"


class Scraped:
    """The samples of one scrape, by their names without the prefix."""

    def __init__(self, url: str) -> None:
        with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - our own
            text = response.read().decode()
        self._samples = [
            (sample.name.removeprefix(PREFIX), sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    @property
    def names(self) -> set[str]:
        return {name for name, _, _ in self._samples}

    @property
    def families(self) -> set[str]:
        """The same, with those of which histograms are the parts."""
        parts = ("_bucket", "_sum", "_count")
        return self.names | {name.removesuffix(part) for name in self.names for part in parts}

    def by(self, name: str, *labels: str, **where: str) -> Mapping[tuple[str, ...], float]:
        """The sums over all other labels, without those that are 0."""
        sums: Counter[tuple[str, ...]] = Counter()
        for sample, found, value in self._samples:
            if sample == name and found.items() >= where.items():
                sums[tuple(found[label] for label in labels)] += value
        return {key: value for key, value in sums.items() if value}

    def value(self, name: str, **where: str) -> float:
        """The sum over all labels; 0 where there is nothing."""
        return self.by(name, **where).get((), 0.0)
