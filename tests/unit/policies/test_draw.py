import hashlib
import math
from uuid import UUID

import numpy as np

from bandit.evaluation.stream import decision_id
from bandit.policies.draw import uniform_of

KEY = bytes(range(32))


def test_the_number_is_the_first_53_bits_of_the_hmac():
    """HMAC-SHA256 as RFC 2104 defines it, from SHA-256 alone."""
    made_for = UUID("018f4e9a-7c00-7000-8000-000000000001")
    block = KEY + bytes(32)
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + made_for.bytes).digest()
    digest = hashlib.sha256(bytes(b ^ 0x5C for b in block) + inner).digest()

    uniform = uniform_of(KEY, made_for)

    bits = int.from_bytes(digest, "big") >> (256 - 53)
    assert uniform == bits / 2**53


def test_it_depends_on_the_key_and_the_id_alone():
    first, second = decision_id(0, 0), decision_id(0, 1)

    numbers = {
        uniform_of(key, made_for) for key in (KEY, KEY[::-1]) for made_for in (first, second)
    }

    assert len(numbers) == 4
    assert uniform_of(KEY, first) == uniform_of(bytes(KEY), UUID(str(first)))


def test_the_numbers_are_uniform():
    """
    Kolmogorov-Smirnov over n = 20,000 ids: by Massart's inequality
    P(sup |F_n - F| > d) <= 2 exp(-2 n d^2), which is 1e-9 at d = sqrt(ln(2e9) / 2n) = .0231.
    """
    count = 20_000
    bound = math.sqrt(math.log(2e9) / (2 * count))

    numbers = np.sort([uniform_of(KEY, decision_id(3, position)) for position in range(count)])

    steps = np.arange(count + 1) / count
    distance = max((steps[1:] - numbers).max(), (numbers - steps[:-1]).max())
    assert distance < bound
    assert 0.0 <= numbers[0] <= numbers[-1] < 1.0
