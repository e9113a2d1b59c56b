"""What is called: each method translates in and calls, then translates out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from bandit.domain.errors import BanditError, Unavailable
from bandit.domain.outcome import Receipt
from bandit.wire import (
    feedback_pb2,
    feedback_pb2_grpc,
    learning_pb2,
    learning_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
)
from services.router import translate, translate_history
from services.router.request import admitted, caller
from services.router.selection import Selection
from services.router.status import status_of
from services.router.streams import Stream
from services.router.tenants import Tenants
from services.router.wrapping import raw

Context = grpc.aio.ServicerContext[Any, Any]

_STOPPING = "the service is stopping"


class RouterServicer(router_pb2_grpc.RouterServicer):
    """`bandit.router.v1.Router`."""

    def __init__(self, tenants: Tenants, *, max_batch: int, stopping: asyncio.Event) -> None:
        self._tenants = tenants
        self._selection = Selection(tenants)
        self._max_batch = max_batch
        self._stopping = stopping

    @raw
    async def Select(self, request: bytes, context: Context) -> bytes:  # type: ignore[override]
        return await self._selection.raw_response(request)

    async def BatchSelect(
        self, request: router_pb2.BatchSelectRequest, context: Context
    ) -> router_pb2.BatchSelectResponse:
        asking = caller()
        queries = translate.queries(request, most=asking.batch_of(self._max_batch))
        answers = await self._tenants.of(asking.tenant).router.select_each(queries)
        return translate.batch_select_response(request, answers)

    async def SelectStream(
        self, request_iterator: AsyncIterator[router_pb2.SelectStreamRequest], context: Context
    ) -> AsyncIterator[router_pb2.SelectStreamResponse]:
        stream = Stream(self._selected, self._stopping)
        async with aclosing(stream.answers(request_iterator)) as items:
            async for item in items:
                yield item
        if self._stopping.is_set():
            raise Unavailable(_STOPPING)

    async def _selected(
        self, request: router_pb2.SelectStreamRequest
    ) -> router_pb2.SelectStreamResponse:
        try:
            await admitted()
            response = await self._selection.response(request.request)
            item = router_pb2.BatchSelectItem(response=response)
        except BanditError as error:
            item = router_pb2.BatchSelectItem(error=status_of(error))
        return router_pb2.SelectStreamResponse(item=item)

    async def Preview(
        self, request: router_pb2.PreviewRequest, context: Context
    ) -> router_pb2.PreviewResponse:
        answer = await self._tenants.of(caller().tenant).router.preview(
            translate.preview_query(request)
        )
        return translate.preview_response(answer)

    async def Activate(
        self, request: router_pb2.ActivateRequest, context: Context
    ) -> router_pb2.ActivateResponse:
        activation = self._tenants.of(caller().tenant).activation
        was_active = await activation.activate(translate.wanted(request))
        return translate.activate_response(was_active)


class FeedbackServicer(feedback_pb2_grpc.FeedbackServicer):
    """`bandit.router.v1.Feedback`."""

    def __init__(self, tenants: Tenants, *, max_batch: int, stopping: asyncio.Event) -> None:
        self._tenants = tenants
        self._max_batch = max_batch
        self._stopping = stopping

    async def Report(
        self, request: feedback_pb2.ReportRequest, context: Context
    ) -> feedback_pb2.ReportResponse:
        asking = caller()
        report = translate.report(request, source=asking.source)
        receipts = await self._tenants.of(asking.tenant).feedback.report(report)
        return translate.report_response(receipts)

    async def BatchReport(
        self, request: feedback_pb2.BatchReportRequest, context: Context
    ) -> feedback_pb2.BatchReportResponse:
        asking = caller()
        most = asking.batch_of(self._max_batch)
        reports = translate.reports(request, source=asking.source, most=most)
        answers = await self._tenants.of(asking.tenant).feedback.report_each(reports)
        return translate.batch_report_response(answers)

    async def ReportStream(
        self, request_iterator: AsyncIterator[feedback_pb2.ReportStreamRequest], context: Context
    ) -> AsyncIterator[feedback_pb2.ReportStreamResponse]:
        async def reported(
            request: feedback_pb2.ReportStreamRequest,
        ) -> feedback_pb2.ReportStreamResponse:
            answer: list[Receipt] | BanditError
            try:
                asking = await admitted()
                report = translate.report(request.report, source=asking.source)
                answer = await self._tenants.of(asking.tenant).feedback.report(report)
            except BanditError as error:
                answer = error
            return feedback_pb2.ReportStreamResponse(item=translate.report_item(answer))

        stream = Stream(reported, self._stopping)
        async with aclosing(stream.answers(request_iterator)) as items:
            async for item in items:
                yield item
        if self._stopping.is_set():
            raise Unavailable(_STOPPING)


class LearningServicer(learning_pb2_grpc.LearningServicer):
    """`bandit.router.v1.Learning`."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants

    async def GetState(
        self, request: learning_pb2.GetStateRequest, context: Context
    ) -> learning_pb2.GetStateResponse:
        learning = self._tenants.of(caller().tenant).learning
        state = await learning.state(translate.policy_name(request))
        return translate.get_state_response(state)

    async def ListSnapshots(
        self, request: learning_pb2.ListSnapshotsRequest, context: Context
    ) -> learning_pb2.ListSnapshotsResponse:
        history = self._tenants.of(caller().tenant).history
        snapshots = await history.snapshots(translate_history.policy_name(request))
        return translate_history.list_snapshots_response(snapshots)

    async def Rebuild(
        self, request: learning_pb2.RebuildRequest, context: Context
    ) -> learning_pb2.RebuildResponse:
        name, asked = translate_history.asked_to_rebuild(request)
        asking = caller()
        history = self._tenants.of(asking.tenant).history
        rebuilt = await history.rebuild(name, asked, who=asking.source)
        return translate_history.rebuild_response(name, rebuilt)

    async def Rollback(
        self, request: learning_pb2.RollbackRequest, context: Context
    ) -> learning_pb2.RollbackResponse:
        name, asked = translate_history.asked_to_roll_back(request)
        asking = caller()
        history = self._tenants.of(asking.tenant).history
        rebuilt = await history.rebuild(name, asked, who=asking.source)
        return translate_history.rollback_response(name, rebuilt)
