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
from services.router.freshness import FreshActivation, FreshFeedback, FreshLearning, FreshRouter
from services.router.history import ServedHistory
from services.router.selection import Selection
from services.router.status import status_of
from services.router.streams import Stream
from services.router.wrapping import raw

Context = grpc.aio.ServicerContext[Any, Any]

_STOPPING = "the service is stopping"


class RouterServicer(router_pb2_grpc.RouterServicer):
    """`bandit.router.v1.Router`."""

    def __init__(
        self,
        router: FreshRouter,
        activation: FreshActivation,
        *,
        max_batch: int,
        stopping: asyncio.Event,
    ) -> None:
        self._router = router
        self._selection = Selection(router)
        self._activation = activation
        self._max_batch = max_batch
        self._stopping = stopping

    @raw
    async def Select(self, request: bytes, context: Context) -> bytes:  # type: ignore[override]
        return await self._selection.raw_response(request)

    async def BatchSelect(
        self, request: router_pb2.BatchSelectRequest, context: Context
    ) -> router_pb2.BatchSelectResponse:
        queries = translate.queries(request, most=self._max_batch)
        return translate.batch_select_response(request, await self._router.select_each(queries))

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
            response = await self._selection.response(request.request)
            item = router_pb2.BatchSelectItem(response=response)
        except BanditError as error:
            item = router_pb2.BatchSelectItem(error=status_of(error))
        return router_pb2.SelectStreamResponse(item=item)

    async def Preview(
        self, request: router_pb2.PreviewRequest, context: Context
    ) -> router_pb2.PreviewResponse:
        answer = await self._router.preview(translate.preview_query(request))
        return translate.preview_response(answer)

    async def Activate(
        self, request: router_pb2.ActivateRequest, context: Context
    ) -> router_pb2.ActivateResponse:
        was_active = await self._activation.activate(translate.wanted(request))
        return translate.activate_response(was_active)


class FeedbackServicer(feedback_pb2_grpc.FeedbackServicer):
    """`bandit.router.v1.Feedback`."""

    def __init__(self, feedback: FreshFeedback, *, max_batch: int, stopping: asyncio.Event) -> None:
        self._feedback = feedback
        self._max_batch = max_batch
        self._stopping = stopping

    async def Report(
        self, request: feedback_pb2.ReportRequest, context: Context
    ) -> feedback_pb2.ReportResponse:
        report = translate.report(request, source=translate.source(context))
        return translate.report_response(await self._feedback.report(report))

    async def BatchReport(
        self, request: feedback_pb2.BatchReportRequest, context: Context
    ) -> feedback_pb2.BatchReportResponse:
        source = translate.source(context)
        reports = translate.reports(request, source=source, most=self._max_batch)
        return translate.batch_report_response(await self._feedback.report_each(reports))

    async def ReportStream(
        self, request_iterator: AsyncIterator[feedback_pb2.ReportStreamRequest], context: Context
    ) -> AsyncIterator[feedback_pb2.ReportStreamResponse]:
        source = translate.source(context)

        async def reported(
            request: feedback_pb2.ReportStreamRequest,
        ) -> feedback_pb2.ReportStreamResponse:
            answer: list[Receipt] | BanditError
            try:
                report = translate.report(request.report, source=source)
                answer = await self._feedback.report(report)
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

    def __init__(self, learning: FreshLearning, history: ServedHistory) -> None:
        self._learning = learning
        self._history = history

    async def GetState(
        self, request: learning_pb2.GetStateRequest, context: Context
    ) -> learning_pb2.GetStateResponse:
        state = await self._learning.state(translate.policy_name(request))
        return translate.get_state_response(state)

    async def ListSnapshots(
        self, request: learning_pb2.ListSnapshotsRequest, context: Context
    ) -> learning_pb2.ListSnapshotsResponse:
        snapshots = await self._history.snapshots(translate_history.policy_name(request))
        return translate_history.list_snapshots_response(snapshots)

    async def Rebuild(
        self, request: learning_pb2.RebuildRequest, context: Context
    ) -> learning_pb2.RebuildResponse:
        name, asked = translate_history.asked_to_rebuild(request)
        rebuilt = await self._history.rebuild(name, asked, who=translate.source(context))
        return translate_history.rebuild_response(name, rebuilt)

    async def Rollback(
        self, request: learning_pb2.RollbackRequest, context: Context
    ) -> learning_pb2.RollbackResponse:
        name, asked = translate_history.asked_to_roll_back(request)
        rebuilt = await self._history.rebuild(name, asked, who=translate.source(context))
        return translate_history.rollback_response(name, rebuilt)
