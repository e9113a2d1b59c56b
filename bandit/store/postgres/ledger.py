"""The money that all processes share."""

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, select, text

from bandit.domain.budget import EMPTY, Account
from bandit.domain.errors import Unavailable, Unconfirmed
from bandit.domain.policy import PolicyId
from bandit.routing.ledger import (
    NOTHING_BOOKED,
    Allowance,
    Booking,
    LeaseRequest,
    Settlement,
    Statement,
    Wish,
)
from bandit.store.postgres import schema
from bandit.store.postgres.codecs import utc
from bandit.store.postgres.engine import transaction

_BOOK = text(
    """
    insert into budget_account as held (policy_id, epoch, balance, decisions, spent_usd)
    values (:policy_id, :epoch, least(:credit, :cap) - :debit, :decisions, :spent_usd)
    on conflict (policy_id, epoch) do update set
        balance = least(held.balance + :credit, :cap) - :debit,
        decisions = held.decisions + :decisions,
        spent_usd = held.spent_usd + :spent_usd
    returning balance, decisions, spent_usd
    """
)
_SETTLE = text(
    """
    insert into budget_account as held (policy_id, epoch, balance, decisions, spent_usd)
    values (:policy_id, :epoch, :balance, 0, :spent_usd)
    on conflict (policy_id, epoch) do update set
        balance = held.balance + :balance, spent_usd = held.spent_usd + :spent_usd
    """
)
_OPEN = text(
    "insert into allowance (policy_id, name, taken, at) values (:policy_id, :name, 0, :at)"
    " on conflict do nothing"
)
_PUT_BACK = text(
    "update allowance set taken = taken - :amount where policy_id = :policy_id and name = :name"
)
# The row is locked before what is left of it is computed: two leases never see the same rest.
_LEASE = text(
    """
    with held as materialized (
        select policy_id, name, greatest(:limit - taken, 0) as left_over from allowance
        where policy_id = :policy_id and name = :name for update
    ), given as (
        select policy_id, name, case when :whole then floor(granted) else granted end as granted
        from held, least(greatest(:need, :share * left_over), left_over) as granted
    )
    update allowance set taken = taken + granted, at = case when granted > 0 then :at else at end
    from given where allowance.policy_id = given.policy_id and allowance.name = given.name
    returning granted
    """
)


class PostgresLedger:
    """Implements `routing.ledger.Ledger` and `LedgerReader`; each method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def exchange(self, wishes: Sequence[Wish]) -> Sequence[Statement]:
        return await asyncio.to_thread(self.exchange_now, wishes)

    def exchange_now(self, wishes: Sequence[Wish]) -> Sequence[Statement]:
        """`exchange`, blocking."""
        statements: dict[int, Statement] = {}
        try:
            with transaction(self._engine) as connection:
                # By policy and name: processes wait for each other in one direction.
                for position in sorted(range(len(wishes)), key=lambda at: wishes[at].policy_id):
                    statements[position] = _exchanged(connection, wishes[position])
        except Unavailable as error:
            if len(statements) < len(wishes):
                raise  # undone
            raise Unconfirmed(str(error)) from error
        return [statements[position] for position in range(len(wishes))]

    def account(self, policy_id: PolicyId, epoch: int) -> Account:
        with transaction(self._engine) as connection:
            return _account(connection, policy_id, epoch)

    def allowances(self, policy_id: PolicyId) -> dict[str, Allowance]:
        columns = schema.allowance.c
        query = select(columns.name, columns.taken, columns.at).where(
            columns.policy_id == policy_id
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(query).all()
        return {name: Allowance(taken, utc(at)) for name, taken, at in rows}


def settle(connection: Connection, policy_id: PolicyId, settlements: Sequence[Settlement]) -> None:
    """Bring accounts and limits up to date; the caller owns the transaction."""
    accounts: dict[int, tuple[float, float]] = {}
    returned: dict[str, float] = {}
    for one in settlements:
        balance, spent_usd = accounts.get(one.epoch, (0.0, 0.0))
        accounts[one.epoch] = (balance + one.balance, spent_usd + one.spent_usd)
        if one.name:
            returned[one.name] = returned.get(one.name, 0.0) + one.returned_usd
    for epoch, (balance, spent_usd) in sorted(accounts.items()):
        values = {"epoch": epoch, "balance": balance, "spent_usd": spent_usd}
        connection.execute(_SETTLE, {"policy_id": policy_id, **values})
    for name, amount in sorted(returned.items()):
        _put_back(connection, policy_id, name, amount)


def _exchanged(connection: Connection, wish: Wish) -> Statement:
    account = (
        _account(connection, wish.policy_id, wish.epoch)
        if wish.booking == NOTHING_BOOKED
        else _booked(connection, wish.policy_id, wish.epoch, wish.booking)
    )
    requests = {request.name: request for request in wish.leases}
    granted = {}
    for name in sorted({*requests, *wish.returned}):
        if name in wish.returned:
            _put_back(connection, wish.policy_id, name, wish.returned[name])
        if name in requests:
            granted[name] = _leased(connection, wish, requests[name])
    return Statement(account, granted)


def _account(connection: Connection, policy_id: PolicyId, epoch: int) -> Account:
    columns = schema.budget_account.c
    query = select(columns.balance, columns.decisions, columns.spent_usd).where(
        columns.policy_id == policy_id, columns.epoch == epoch
    )
    row = connection.execute(query).one_or_none()
    return EMPTY if row is None else Account(*row)


def _booked(connection: Connection, policy_id: PolicyId, epoch: int, booking: Booking) -> Account:
    values: dict[str, Any] = {
        "policy_id": policy_id,
        "epoch": epoch,
        "credit": booking.credit,
        "debit": booking.debit,
        "cap": booking.cap,
        "decisions": booking.decisions,
        "spent_usd": booking.spent_usd,
    }
    return Account(*connection.execute(_BOOK, values).one())


def _put_back(connection: Connection, policy_id: PolicyId, name: str, amount: float) -> None:
    connection.execute(_PUT_BACK, {"policy_id": policy_id, "name": name, "amount": amount})


def _leased(connection: Connection, wish: Wish, request: LeaseRequest) -> float:
    place = {"policy_id": wish.policy_id, "name": request.name, "at": wish.at}
    connection.execute(_OPEN, place)
    asked = {
        "need": request.need,
        "share": request.share,
        "limit": request.limit,
        "whole": request.whole,
    }
    return float(connection.execute(_LEASE, {**place, **asked}).scalar_one())
