import pytest

from bandit.domain.host import host_of, is_of_this_machine


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "unix:/run/router.sock"]
)
def test_these_are_this_machine(host):
    assert is_of_this_machine(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "router.internal", "localhost.example", "", "127.0.0.1:1"]
)
def test_these_are_or_may_be_others(host):
    assert not is_of_this_machine(host)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("127.0.0.1:50051", "127.0.0.1"),
        ("[::1]:50051", "[::1]"),
        ("router.internal:443", "router.internal"),
        ("unix:/run/router.sock", "unix:/run/router.sock"),
        ("dns:///router.internal:443", "dns:///router.internal"),
        ("router.internal", "router.internal"),
    ],
)
def test_the_host_of_a_target(target, host):
    assert host_of(target) == host
