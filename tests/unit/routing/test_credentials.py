import secrets
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.domain.credential import Credential, Scope, certificate_id
from bandit.domain.errors import AlreadyExists, InvalidInput, UnknownCredentialId
from bandit.routing.credentials import CredentialKeeper, shown
from bandit.store.memory_credentials import MemoryCredentials
from tests.builders import NOW

HOUR = timedelta(hours=1)
SELECT = frozenset([Scope.SELECT])


class World:
    """A keeper whose clock stands still until it is moved."""

    def __init__(self):
        self.now = NOW
        self.store = MemoryCredentials()
        self.keeper = CredentialKeeper(
            self.store, clock=lambda: self.now, random_bytes=secrets.token_bytes
        )

    def create(self, **given):
        return self.keeper.create(**{"tenant": "acme", "name": "me", "scopes": SELECT, **given})


def test_a_key_is_found_by_what_its_owner_sends_and_its_secret_is_kept_nowhere():
    world = World()

    issued = world.create()

    key = shown(issued.token)
    (held,) = world.store.all()
    assert (key.id, key.digest) == (held.id, held.digest)
    secret = issued.token.split("_", 2)[2]
    assert len(secret) >= 43  # 256 bits
    assert secret not in repr(held)
    assert secret.encode() not in held.digest


def test_no_two_keys_are_alike():
    world = World()

    tokens = {world.create().token for _ in range(100)}

    assert len(tokens) == len(world.store.all()) == 100


@given(st.text() | st.from_regex(r"br_[a-z2-7]*_?.{0,3}"))
def test_whatever_is_shown_instead_of_a_key_is_none_or_has_another_digest(text):
    issued = World().create()

    key = shown(text)

    assert key is None or key.digest != issued.credential.digest


def test_a_changed_secret_has_another_digest():
    token = World().create().token

    assert shown(token + "A").digest != shown(token).digest != shown(token[:-1]).digest


def test_a_renewed_key_keeps_its_rights_and_its_name_and_the_old_one_lasts_for_the_overlap():
    world = World()
    old = world.create(lifetime=30 * HOUR, calls_per_second=5.0, max_batch=7)
    world.now += 10 * HOUR

    new = world.keeper.rotate(old.credential.id, overlap=2 * HOUR)

    first, second = world.store.all()
    assert first == replace(old.credential, expires_at=world.now + 2 * HOUR)
    assert second == new.credential
    assert second == replace(
        old.credential,
        id=second.id,
        digest=shown(new.token).digest,
        created_at=world.now,
        expires_at=world.now + 30 * HOUR,
    )


def test_an_overlap_does_not_prolong_a_key():
    world = World()
    old = world.create(lifetime=HOUR)

    world.keeper.rotate(old.credential.id, overlap=2 * HOUR)

    assert world.store.all()[0].expires_at == NOW + HOUR


def test_what_is_over_is_not_renewed():
    world = World()
    revoked, expired = world.create(), world.create(lifetime=HOUR)
    world.keeper.revoke(revoked.credential.id)
    world.now += HOUR

    for id_ in (revoked.credential.id, expired.credential.id):
        with pytest.raises(InvalidInput, match="nothing to renew"):
            world.keeper.rotate(id_, overlap=HOUR)
    assert len(world.store.all()) == 2


def test_a_key_is_revoked_once_and_for_good():
    world = World()
    id_ = world.create().credential.id

    first = world.keeper.revoke(id_)
    world.now += HOUR
    again = world.keeper.revoke(id_)

    assert first == again
    assert first.revoked_at == NOW


def test_a_certificate_is_let_in_by_its_name_and_again_after_it_was_revoked():
    world = World()
    issued = world.create(common_name="edge.example")

    assert issued.token is None
    assert issued.credential.is_certificate
    assert issued.credential.id == certificate_id("edge.example")
    with pytest.raises(AlreadyExists):
        world.create(common_name="edge.example")
    with pytest.raises(InvalidInput, match="renewed by whoever issued it"):
        world.keeper.rotate(issued.credential.id, overlap=HOUR)

    world.keeper.revoke(issued.credential.id)
    world.create(common_name="edge.example")

    assert world.store.all()[0].revoked_at is None


def test_a_tenants_keys_are_listed_alone():
    world = World()
    own, other = world.create(), world.create(tenant="other")

    assert world.keeper.list(tenant="acme") == [own.credential]
    assert set(map(id, world.keeper.list())) == {id(own.credential), id(other.credential)}


def test_an_unknown_id_is_told_and_changes_nothing():
    world = World()

    with pytest.raises(UnknownCredentialId, match="nothing"):
        world.keeper.revoke("nothing")

    assert world.store.version() == 0


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"tenant": ""}, "tenant"),
        ({"tenant": "a\nb"}, "tenant"),
        ({"name": " x"}, "name"),
        ({"scopes": frozenset()}, "scopes"),
        ({"lifetime": timedelta(0)}, "lifetime"),
        ({"lifetime": timedelta.max}, "lifetime"),
        ({"calls_per_second": 0.0}, "calls_per_second"),
        ({"calls_per_second": float("nan")}, "calls_per_second"),
        ({"max_batch": 0}, "max_batch"),
        ({"common_name": ""}, "common_name"),
    ],
)
def test_what_makes_no_sense_is_named_and_changes_nothing(given, field):
    world = World()

    with pytest.raises(InvalidInput) as raised:
        world.create(**given)

    assert raised.value.field == field
    assert world.store.version() == 0


def test_a_credential_checks_itself():
    with pytest.raises(InvalidInput, match="digest"):
        Credential("id", "acme", "me", SELECT, b"short", NOW)
