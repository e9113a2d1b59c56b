from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.domain.errors import InvalidInput
from bandit.domain.tenant import Tenant, checked_tenant
from tests.builders import a_policy

NAMES = st.text("ab/", min_size=1, max_size=4)
TENANTS = st.sampled_from(["default", "a", "b", "ab"])


def test_a_policy_of_another_tenant_is_told_with_it():
    policy = a_policy("chat")

    assert policy.full_name == "chat"
    assert replace(policy, tenant=Tenant("acme")).full_name == "acme/chat"


@given(TENANTS, NAMES, TENANTS, NAMES)
def test_no_two_policies_are_told_of_under_one_name(tenant, name, other_tenant, other_name):
    one = replace(a_policy(name), tenant=Tenant(tenant))
    other = replace(a_policy(other_name), tenant=Tenant(other_tenant))

    is_same = (tenant, name) == (other_tenant, other_name)
    assert (one.full_name == other.full_name) is is_same


def test_a_tenant_has_no_slash_in_its_name():
    with pytest.raises(InvalidInput, match="tenant: must have no slash"):
        checked_tenant("a/b")
