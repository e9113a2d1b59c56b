"""One asynchronous connection that is made anew when it is lost."""

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from bandit.store.postgres.engine import READABLE, conninfo_of
from bandit.store.postgres.exchange import exchange, is_forgotten
from bandit.store.postgres.statements import Prepared

HOT_STATEMENT_TIMEOUT_MS = 2000
_REFUSED_FOR_S = 0.2  # after a failed attempt: those who wait behind it need not repeat it
_COMMIT_ALLOWANCE_S = 1.0


class Lane:
    """
    A connection for one transaction at a time, which its owner sees to.

    statement_timeout_ms   after which the server gives up; a little later the client hangs up, so
                           that a server that fell silent holds nobody
    """

    def __init__(self, url: str, *, statement_timeout_ms: int = HOT_STATEMENT_TIMEOUT_MS) -> None:
        self._conninfo = conninfo_of(url)
        # A transaction has two statements at most.
        self._deadline_s = 2 * statement_timeout_ms / 1000 + _COMMIT_ALLOWANCE_S
        timeout = f"set local statement_timeout = {statement_timeout_ms:d}"
        self._begin = f"begin; {READABLE}; {timeout}"
        self._begin_binary = (b"begin", timeout.encode())
        self._planned: set[bytes] | None = set()  # of this connection; None: plans are not kept
        self._connection: psycopg.AsyncConnection | None = None
        self._refused_until = 0.0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """Committed when the block ends well, undone otherwise; the driver's errors pass."""
        connection = await self._connected()
        timer = asyncio.get_running_loop().call_later(self._deadline_s, _hang_up, connection)
        try:
            await connection.execute(self._begin)
            yield connection
            ended = await connection.execute("commit")
            if ended.statusmessage != "COMMIT":
                raise psycopg.OperationalError("the server undid the transaction")
        except BaseException:
            await self._reset(connection)
            raise
        finally:
            timer.cancel()

    async def committed(self, statement: Prepared, parameters: Sequence[bytes]) -> PGresult:
        """
        The result of one statement in a transaction of its own, in binary.

        The driver's errors pass; then nothing was done, or it is not known whether it was.
        """
        connection = await self._connected()
        try:
            return await self._exchanged(connection, statement, parameters)
        except psycopg.Error as error:
            if self._planned is None or not is_forgotten(error):
                raise
        self._planned = None
        return await self._exchanged(await self._connected(), statement, parameters)

    async def _exchanged(
        self,
        connection: psycopg.AsyncConnection,
        statement: Prepared,
        parameters: Sequence[bytes],
    ) -> PGresult:
        planned = self._planned if statement.name else None
        is_planned = None if planned is None else statement.name in planned
        timer = asyncio.get_running_loop().call_later(self._deadline_s, _hang_up, connection)
        try:
            result = await exchange(
                connection,
                self._begin_binary,
                statement,
                parameters,
                is_planned=is_planned,
                within_s=self._deadline_s,
            )
        except BaseException:
            await self._reset(connection)
            if is_planned is False:  # a plan outlives the transaction: is it there, or is it not?
                await self.close()
            raise
        finally:
            timer.cancel()
        if planned is not None:
            planned.add(statement.name)
        return result

    async def close(self) -> None:
        """Give the connection back; the next transaction makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def hang_up(self) -> None:
        """Do not wait for the transaction under way: it fails now."""
        if self._connection is not None and not self._connection.closed:
            _hang_up(self._connection)

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is not None and _is_alive(self._connection):
            return self._connection
        await self.close()
        clock = asyncio.get_running_loop().time
        if clock() < self._refused_until:
            raise psycopg.OperationalError("the database refused a moment ago")
        try:
            # No prepared statements: a pooler may run the next transaction in another session.
            self._connection = await psycopg.AsyncConnection.connect(
                self._conninfo, autocommit=True, prepare_threshold=None
            )
        except psycopg.OperationalError:
            self._refused_until = clock() + _REFUSED_FOR_S
            raise
        if self._planned is not None:
            self._planned = set()
        return self._connection

    async def _reset(self, connection: psycopg.AsyncConnection) -> None:
        """Leave no transaction open, or no connection."""
        if connection.pgconn.pipeline_status == PipelineStatus.OFF:
            with suppress(psycopg.Error):
                if connection.info.transaction_status is not TransactionStatus.IDLE:
                    await connection.execute("rollback")
                return
        await self.close()


def _is_alive(connection: psycopg.AsyncConnection) -> bool:
    """
    Whether an idle connection can be used, as far as one system call can tell.

    A server speaks first only to say farewell (or of a changed setting, which is rare).
    """
    if connection.closed or connection.info.transaction_status is not TransactionStatus.IDLE:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)


def _hang_up(connection: psycopg.AsyncConnection) -> None:
    """End a connection whose server is silent: whoever waits on it is told that it is lost."""
    with (
        suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.pgconn.socket)) as wire,
    ):
        wire.shutdown(socket.SHUT_RDWR)
