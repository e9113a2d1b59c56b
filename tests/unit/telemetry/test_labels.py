from dataclasses import replace

from bandit.domain.tenant import Tenant
from services.telemetry.labels import label_of
from tests.builders import a_policy


def test_a_policy_of_another_tenant_is_told_with_it():
    policy = a_policy("chat")

    assert label_of(policy) == "chat"
    assert label_of(replace(policy, tenant=Tenant("acme"))) == "acme/chat"
