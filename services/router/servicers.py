"""What is called: each method translates in and calls, then translates out."""

from typing import Any

import grpc

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

Context = grpc.aio.ServicerContext[Any, Any]


class RouterServicer(router_pb2_grpc.RouterServicer):
    """`bandit.router.v1.Router`."""

    def __init__(self, router: FreshRouter, activation: FreshActivation, *, max_batch: int) -> None:
        self._router = router
        self._activation = activation
        self._max_batch = max_batch

    async def Select(
        self, request: router_pb2.SelectRequest, context: Context
    ) -> router_pb2.SelectResponse:
        answer = await self._router.select(translate.query(request))
        return translate.select_response(answer, explain=request.explain)

    async def BatchSelect(
        self, request: router_pb2.BatchSelectRequest, context: Context
    ) -> router_pb2.BatchSelectResponse:
        queries = translate.queries(request, most=self._max_batch)
        return translate.batch_select_response(request, await self._router.select_each(queries))

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

    def __init__(self, feedback: FreshFeedback, *, max_batch: int) -> None:
        self._feedback = feedback
        self._max_batch = max_batch

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
