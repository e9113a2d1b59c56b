"""The use cases of an operator who lets callers in, and what a key looks like."""

import hashlib
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from bandit.domain.credential import Credential, Scope, certificate_id
from bandit.domain.errors import AlreadyExists, InvalidInput, UnknownCredentialId
from bandit.domain.tenant import checked_tenant

_MARK = "br"  # so that a key that leaked into a text is recognised
_ID_BYTES = 10
_SECRET_BYTES = 32
LONGEST_TOKEN = 200


class Credentials(Protocol):
    """Where credentials are kept; none is ever deleted."""

    def put(self, credentials: Sequence[Credential]) -> None:
        """Store these, or their successors, all at once."""
        ...

    def all(self) -> Sequence[Credential]:
        """Every credential that can be read, in the order in which they were made."""
        ...

    def version(self) -> int:
        """A number that grows with every change; 0: there never was a credential."""
        ...


@dataclass(frozen=True, slots=True)
class Issued:
    """
    A new credential.

    token  what a caller sends, known to nobody else and never again; None: a certificate
    """

    credential: Credential
    token: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A key as a caller showed it: which it claims to be, and the digest of its secret."""

    id: str
    digest: bytes


def shown(token: str) -> Shown | None:
    """What a caller showed; None: nothing that looks like a key."""
    mark, _, rest = token.partition("_")
    id_, _, secret = rest.partition("_")
    if mark != _MARK or not id_ or not secret or len(token) > LONGEST_TOKEN:
        return None
    return Shown(id_, _digest(secret))


class CredentialKeeper:
    """
    Makes keys, renews them and takes them back.

    random_bytes  so many secret bytes, from the operating system
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._random_bytes = random_bytes

    def create(
        self,
        *,
        tenant: str,
        name: str,
        scopes: Collection[Scope],
        lifetime: timedelta | None = None,
        calls_per_second: float | None = None,
        max_batch: int | None = None,
        common_name: str | None = None,
    ) -> Issued:
        """
        A new key, or with `common_name` the admission of a client certificate.

        lifetime  None: it never expires
        """
        now = self._clock()
        token, id_, digest = self._drawn() if common_name is None else (None, "", None)
        credential = Credential(
            id=id_ if common_name is None else certificate_id(common_name),
            tenant=checked_tenant(tenant),
            name=name,
            scopes=frozenset(scopes),
            digest=digest,
            created_at=now,
            expires_at=None if lifetime is None else _after(now, lifetime, "lifetime"),
            calls_per_second=calls_per_second,
            max_batch=max_batch,
        )
        for held in self._credentials.all():
            # Revoked, it may be let in again, but not as another tenant's: streams may be open.
            if held.id == credential.id and (
                held.revoked_at is None or held.tenant != credential.tenant
            ):
                raise AlreadyExists("credential", credential.id)
        self._credentials.put([credential])
        return Issued(credential, token)

    def list(self, *, tenant: str | None = None) -> list[Credential]:
        """All credentials, or those of a tenant, in the order in which they were made."""
        return [held for held in self._credentials.all() if tenant in (None, held.tenant)]

    def revoke(self, id_: str) -> Credential:
        """Take a credential back for good; harmless when repeated."""
        held = self._held(id_)
        if held.revoked_at is not None:
            return held
        revoked = replace(held, revoked_at=self._clock())
        self._credentials.put([revoked])
        return revoked

    def rotate(self, id_: str, *, overlap: timedelta) -> Issued:
        """
        A new secret for the same tenant, name, scopes and limits; the old one lasts for `overlap`.

        A key that expires is followed by one that lives as long as it was to live.
        """
        old = self._held(id_)
        if old.is_certificate:
            raise InvalidInput("id", "a certificate is renewed by whoever issued it")
        now = self._clock()
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise InvalidInput("id", "is expired or revoked: there is nothing to renew")
        token, new_id, digest = self._drawn()
        ending = _after(now, overlap, "overlap")
        new = replace(
            old,
            id=new_id,
            digest=digest,
            created_at=now,
            expires_at=None if old.expires_at is None else now + (old.expires_at - old.created_at),
        )
        retiring = replace(old, expires_at=min(old.expires_at or ending, ending))
        self._credentials.put([retiring, new])
        return Issued(new, token)

    def _held(self, id_: str) -> Credential:
        for held in self._credentials.all():
            if held.id == id_:
                return held
        raise UnknownCredentialId(id_)

    def _drawn(self) -> tuple[str, str, bytes]:
        """Token, id and digest of a fresh key."""
        id_ = b32encode(self._random_bytes(_ID_BYTES)).decode().lower()
        secret = urlsafe_b64encode(self._random_bytes(_SECRET_BYTES)).decode().rstrip("=")
        return f"{_MARK}_{id_}_{secret}", id_, _digest(secret)


def _digest(secret: str) -> bytes:
    # No salt and no slow hash: nobody guesses 256 random bits.
    return hashlib.sha256(secret.encode()).digest()


def _after(now: datetime, time: timedelta, field: str) -> datetime:
    if time <= timedelta(0):
        raise InvalidInput(field, "must be longer than nothing")
    try:
        return now + time
    except OverflowError:
        raise InvalidInput(field, "reaches beyond the calendar") from None
