"""
One transaction of one statement in one round trip, on the event loop.

The driver's own way takes three: it waits for `begin`, for the statement and for `commit`.  Here
all three are sent at once through the driver's libpq in pipeline mode, and the socket is read when
there is something to read: no task, no thread and no lock per statement.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors as postgres
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, Format
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
    within_s: float,
) -> PGresult:
    """
    The result of the statement, in binary, once its transaction is committed.

    before      statements without results, to begin with
    is_planned  whether this connection has planned the statement; None: plans are not to be kept
    within_s    after which the server is taken to be silent

    Raises the driver's errors.  After one a transaction may be open, and if the connection is still
    in pipeline mode it is in the middle of something and cannot be used.
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
    results = await _Conversation(pgconn).results(within_s)
    pgconn.exit_pipeline_mode()
    for result in results:
        if result.status in _ENDS:
            raise postgres.error_from_result(result, encoding="utf-8")
    if results[-1].command_status != b"COMMIT":
        raise psycopg.OperationalError("the server undid the transaction")
    return results[-2]


def rows_of(result: PGresult) -> list[tuple[Any, ...]]:
    """The rows as the driver reads them, times in UTC."""
    reading = Transformer()
    reading.set_pgresult(result)
    rows: list[tuple[Any, ...]] = reading.load_rows(0, result.ntuples, tuple)
    return rows


def is_forgotten(error: BaseException) -> bool:
    """Whether the plan was not there, or was there already: a pooler hands sessions around."""
    return isinstance(error, _FORGOTTEN)


class _Conversation:
    """
    Sends what is in libpq's buffer and collects results, up to the end of the pipeline.

    The socket is taken from the event loop in the very call in which it ends: libpq closes it when
    the connection is lost, and an event loop that still watched its number would be deaf to the
    next socket that gets it.
    """

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._loop = asyncio.get_running_loop()
        self._socket = pgconn.socket
        self._results: list[PGresult] = []
        self._is_watching = False
        self._over: asyncio.Future[None] = self._loop.create_future()

    async def results(self, within_s: float) -> list[PGresult]:
        """One per statement."""
        self._is_watching = True
        self._loop.add_reader(self._socket, self._step)
        deadline = self._loop.call_later(within_s, self._give_up)
        try:
            if self._pgconn.flush():
                self._loop.add_writer(self._socket, self._step)
            await self._over
        finally:
            deadline.cancel()
            self._end()  # where the caller was cancelled, or flushing failed
        return self._results

    def _step(self) -> None:
        try:
            self._pgconn.consume_input()
            if not self._pgconn.flush():
                self._loop.remove_writer(self._socket)
            while not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    if self._pgconn.status != ConnStatus.OK:
                        raise psycopg.OperationalError("the connection is lost")
                    continue  # between two statements
                if result.status == ExecStatus.PIPELINE_SYNC:
                    self._end()
                    return
                self._results.append(result)
        except Exception as error:
            # Raised here it would end in the event loop's log, and the caller would wait for ever.
            self._end(error)

    def _give_up(self) -> None:
        self._end(psycopg.OperationalError("the server fell silent"))

    def _end(self, error: Exception | None = None) -> None:
        if self._is_watching:
            self._is_watching = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)
