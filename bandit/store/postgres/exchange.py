"""
One transaction of one statement in one round trip, on the event loop.

The driver's own way takes three: it waits for `begin`, for the statement and for `commit`.  Here
all three are sent at once through the driver's libpq in pipeline mode, and the socket is read when
there is something to read: no task, no thread and no lock per statement.
"""

import asyncio
from collections.abc import Sequence

import psycopg
from psycopg import errors as postgres
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from bandit.store.postgres.statements import Prepared

_FORGOTTEN = (postgres.InvalidSqlStatementName, postgres.DuplicatePreparedStatement)
_ENDS = (ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED)


async def exchange(
    connection: psycopg.AsyncConnection,
    before: Sequence[bytes],
    statement: Prepared,
    parameters: Sequence[bytes],
    *,
    is_planned: bool | None,
) -> PGresult:
    """
    The result of the statement, in binary, once its transaction is committed.

    before      statements without results, to begin with
    is_planned  whether this connection has planned the statement; None: plans are not to be kept

    Raises the driver's errors.  After one a transaction may be open, and the connection in the
    middle of something: see `is_usable`.
    """
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    for text in before:
        pgconn.send_query_params(text, None)
    if is_planned is False:
        pgconn.send_prepare(statement.name, statement.text)
    formats = [Format.BINARY] * len(parameters)
    if is_planned is None:
        pgconn.send_query_params(
            statement.text, parameters, param_formats=formats, result_format=Format.BINARY
        )
    else:
        pgconn.send_query_prepared(
            statement.name, parameters, param_formats=formats, result_format=Format.BINARY
        )
    pgconn.send_query_params(b"commit", None)
    pgconn.pipeline_sync()
    results = await _Conversation(pgconn).results()
    pgconn.exit_pipeline_mode()
    for result in results:
        if result.status in _ENDS:
            raise postgres.error_from_result(result, encoding="utf-8")
    if results[-1].command_status != b"COMMIT":
        raise psycopg.OperationalError("the server undid the transaction")
    return results[-2]


def is_forgotten(error: BaseException) -> bool:
    """Whether the plan was not there, or was there already: a pooler hands sessions around."""
    return isinstance(error, _FORGOTTEN)


class _Conversation:
    """Sends what is in libpq's buffer and collects results, up to the end of the pipeline."""

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._loop = asyncio.get_running_loop()
        self._socket = pgconn.socket
        self._results: list[PGresult] = []
        self._over: asyncio.Future[None] = self._loop.create_future()

    async def results(self) -> list[PGresult]:
        """One per statement."""
        self._loop.add_reader(self._socket, self._step)
        try:
            if self._pgconn.flush():
                self._loop.add_writer(self._socket, self._step)
            await self._over
        finally:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        return self._results

    def _step(self) -> None:
        if self._over.done():
            return
        try:
            self._pgconn.consume_input()
            if not self._pgconn.flush():
                self._loop.remove_writer(self._socket)
            while not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    continue  # between two statements
                if result.status == ExecStatus.PIPELINE_SYNC:
                    self._over.set_result(None)
                    return
                self._results.append(result)
        except Exception as error:
            # Raised here it would end in the event loop's log, and the caller would wait for ever.
            self._over.set_exception(error)
