"""The client for code that waits."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc
from google.protobuf.message import Message

from bandit.client import calls
from bandit.client.conversation import DEFAULT_TIMEOUT_S, Call, Pause, Send, Stub
from bandit.client.errors import RouterError, error_from_call
from bandit.client.methods import described_by
from bandit.client.open_decision import OpenDecision
from bandit.client.results import Decision, ReportResult
from bandit.client.service_config import channel_options, check_place, metadata

P = ParamSpec("P")
T = TypeVar("T")


def _method(call: Callable[P, Call[T]]) -> "Callable[Concatenate[RouterClient, P], T]":
    """The call as a method that carries it out."""

    @described_by(call)
    def method(self: "RouterClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(call(*args, **kwargs))

    return method


def _block(
    select: Callable[P, Call[Decision]],
) -> "Callable[Concatenate[RouterClient, P], AbstractContextManager[OpenDecision[ReportResult]]]":
    """The selection as a block, whose duration or failure is reported when it ends."""

    @described_by(select)
    def method(
        self: "RouterClient", /, *args: P.args, **kwargs: P.kwargs
    ) -> AbstractContextManager[OpenDecision[ReportResult]]:
        return self._open(select(*args, **kwargs))

    return method


class RouterClient:
    """
    Chooses arms and reports what came of them; safe to share between threads.

    target        host:port
    key           made by `bandit-router key create`; None: for a service that asks for none
    source        without a key: under which name this caller's outcomes count; None: "default"
    timeout_s     seconds allowed for a call, retries included
    credentials   for TLS, see `tls`; None: an open connection, for a service on this machine
    plaintext     to send a key over an open connection to another machine all the same

        with RouterClient("127.0.0.1:50051") as client:
            with client.decision("chat", text=question) as decision:
                answer = ask(decision.arm, question)
            decision.report(quality=rating)

    Raises `RouterError`, and ValueError for a key that would travel in the open.  A call is
    repeated while the service is unavailable, where that does no harm; a selection carries an id
    made here, so a repeated one is the same decision.
    """

    def __init__(
        self,
        target: str,
        *,
        key: str | None = None,
        source: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        credentials: grpc.ChannelCredentials | None = None,
        plaintext: bool = False,
    ) -> None:
        if credentials is None and not plaintext:
            check_place(target, key)
        options = channel_options()
        self._channel = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._metadata = metadata(key=key, source=source)
        self._timeout_s = timeout_s
        self._stubs: dict[Stub, Any] = {}

    select = _method(calls.select)
    preview = _method(calls.preview)
    batch_select = _method(calls.batch_select)
    activate = _method(calls.activate)
    report = _method(calls.report)
    batch_report = _method(calls.batch_report)
    state = _method(calls.state)
    list_snapshots = _method(calls.list_snapshots)
    rebuild = _method(calls.rebuild)
    rollback = _method(calls.rollback)

    create_policy = _method(calls.create_policy)
    get_policy = _method(calls.get_policy)
    list_policies = _method(calls.list_policies)
    update_policy = _method(calls.update_policy)
    archive_policy = _method(calls.archive_policy)
    add_arm = _method(calls.add_arm)
    update_arm = _method(calls.update_arm)
    set_arm_status = _method(calls.set_arm_status)
    remove_arm = _method(calls.remove_arm)
    set_price = _method(calls.set_price)
    set_budget = _method(calls.set_budget)
    budget = _method(calls.budget)

    decision = _block(calls.decision)

    def within(self, timeout_s: float) -> Self:
        """This client, over the same connection, with another time allowed for a call."""
        other = copy(self)
        other._timeout_s = timeout_s
        return other

    def run(self, call: Call[T]) -> T:
        """Carry out a call made by `bandit.client.calls`."""
        conversation = call(self._timeout_s)
        step = next(conversation)
        while True:
            try:
                step = conversation.send(self._perform(step))
            except StopIteration as end:
                result: T = end.value
                return result

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _perform(self, step: Send | Pause) -> Message | RouterError | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        stub = self._stubs.get(step.method.stub)
        if stub is None:
            stub = self._stubs[step.method.stub] = step.method.stub(self._channel)
        try:
            response: Message = getattr(stub, step.method.name)(
                step.request, timeout=step.timeout_s, metadata=self._metadata
            )
        except grpc.RpcError as error:
            return error_from_call(error)
        return response

    @contextmanager
    def _open(self, selection: Call[Decision]) -> Iterator[OpenDecision[ReportResult]]:
        opened = OpenDecision(self.run(selection), self.run)
        try:
            yield opened
        except BaseException as error:
            self._conclude(opened, error)
            raise
        self._conclude(opened, None)

    def _conclude(self, opened: OpenDecision[ReportResult], error: BaseException | None) -> None:
        call = opened.closing(error)
        if call is None:
            return
        try:
            self.run(call)
        except RouterError as failure:
            opened.note(failure)
