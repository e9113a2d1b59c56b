"""What an arm charges."""

from dataclasses import dataclass
from datetime import datetime

from bandit.domain.errors import InvalidInput

EXPECTED_OUTPUT_TOKENS = 200
LEAST_USD = 1e-9  # stands in for "free", whose logarithm does not exist
MOST_USD = 1e9


@dataclass(frozen=True, slots=True)
class Price:
    """
    USD per million input and output tokens, and a fixed fee in USD per call; each from 0 to 1e9.
    """

    input_usd_per_million: float = 0.0
    output_usd_per_million: float = 0.0
    fee_usd: float = 0.0

    def __post_init__(self) -> None:
        for name in ("input_usd_per_million", "output_usd_per_million", "fee_usd"):
            if not 0 <= getattr(self, name) <= MOST_USD:
                raise InvalidInput(f"price.{name}", f"must be from 0 to {MOST_USD:g}")

    def usd(self, input_tokens: float, output_tokens: float) -> float:
        """USD for one call of that many tokens."""
        tokens = (
            self.input_usd_per_million * input_tokens + self.output_usd_per_million * output_tokens
        )
        return tokens / 1e6 + self.fee_usd

    def list_usd(self, input_tokens: float) -> float:
        """
        USD expected before the call: list_k(x) = (p_in n_in + p_out 200) / 1e6 + fee.

        At least `LEAST_USD`, so that its logarithm exists.
        """
        return max(self.usd(input_tokens, EXPECTED_OUTPUT_TOKENS), LEAST_USD)


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """A price and the moment from which it is in force."""

    valid_from: datetime
    price: Price
