"""`bandit.router.v1.Catalog`: each method translates in and calls, then translates out."""

from bandit.wire import catalog_pb2 as pb
from bandit.wire import catalog_pb2_grpc
from services.router import translate_catalog as translate
from services.router.freshness import FreshCatalog
from services.router.request import caller
from services.router.servicers import Context
from services.router.tenants import Tenants
from services.router.translate_budget import budget_status_message, new_budget
from services.router.translate_fields import moment, present
from services.router.translate_settings import settings


class CatalogServicer(catalog_pb2_grpc.CatalogServicer):
    """`bandit.router.v1.Catalog`."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants

    @property
    def _catalog(self) -> FreshCatalog:
        """The caller's."""
        return self._tenants.of(caller().tenant).catalog

    async def CreatePolicy(
        self, request: pb.CreatePolicyRequest, context: Context
    ) -> pb.CreatePolicyResponse:
        described = await self._catalog.change(
            lambda keeper: keeper.create_policy(
                translate.new_policy_name(request),
                settings(request.settings),
                translate.new_arms(request),
                key=present(request, "key"),
                who=caller().source,
            )
        )
        return pb.CreatePolicyResponse(policy=translate.policy_message(described))

    async def GetPolicy(
        self, request: pb.GetPolicyRequest, context: Context
    ) -> pb.GetPolicyResponse:
        described = await self._catalog.read(
            lambda keeper: keeper.get_policy(translate.policy_name(request))
        )
        return pb.GetPolicyResponse(policy=translate.policy_message(described))

    async def ListPolicies(
        self, request: pb.ListPoliciesRequest, context: Context
    ) -> pb.ListPoliciesResponse:
        described = await self._catalog.read_all(
            lambda keeper: keeper.list_policies(include_archived=request.include_archived)
        )
        return pb.ListPoliciesResponse(policies=map(translate.policy_message, described))

    async def UpdatePolicy(
        self, request: pb.UpdatePolicyRequest, context: Context
    ) -> pb.UpdatePolicyResponse:
        described = await self._catalog.change(
            lambda keeper: keeper.update_policy(
                translate.policy_name(request),
                settings(request.settings),
                expected_version=translate.expected_version(request),
                who=caller().source,
            )
        )
        return pb.UpdatePolicyResponse(policy=translate.policy_message(described))

    async def ArchivePolicy(
        self, request: pb.ArchivePolicyRequest, context: Context
    ) -> pb.ArchivePolicyResponse:
        described = await self._catalog.change(
            lambda keeper: keeper.archive_policy(
                translate.policy_name(request), who=caller().source
            )
        )
        return pb.ArchivePolicyResponse(policy=translate.policy_message(described))

    async def AddArm(self, request: pb.AddArmRequest, context: Context) -> pb.AddArmResponse:
        described = await self._catalog.change(
            lambda keeper: keeper.add_arm(
                translate.policy_name(request), translate.new_arm(request.arm), who=caller().source
            )
        )
        return pb.AddArmResponse(policy=translate.policy_message(described))

    async def UpdateArm(
        self, request: pb.UpdateArmRequest, context: Context
    ) -> pb.UpdateArmResponse:
        described = await self._catalog.change(
            lambda keeper: keeper.update_arm(
                translate.policy_name(request),
                translate.arm_name(request),
                context_window_tokens=present(request, "context_window_tokens"),
                explore_limit_usd=present(request, "explore_limit_usd"),
                who=caller().source,
            )
        )
        return pb.UpdateArmResponse(policy=translate.policy_message(described))

    async def SetArmStatus(
        self, request: pb.SetArmStatusRequest, context: Context
    ) -> pb.SetArmStatusResponse:
        described = await self._catalog.change(
            lambda keeper: keeper.set_arm_status(
                translate.policy_name(request),
                translate.arm_name(request),
                translate.status(request),
                who=caller().source,
            )
        )
        return pb.SetArmStatusResponse(policy=translate.policy_message(described))

    async def RemoveArm(
        self, request: pb.RemoveArmRequest, context: Context
    ) -> pb.RemoveArmResponse:
        described = await self._catalog.change(
            lambda keeper: keeper.remove_arm(
                translate.policy_name(request), translate.arm_name(request), who=caller().source
            )
        )
        return pb.RemoveArmResponse(policy=translate.policy_message(described))

    async def SetPrice(self, request: pb.SetPriceRequest, context: Context) -> pb.SetPriceResponse:
        described = await self._catalog.change(
            lambda keeper: keeper.set_price(
                translate.policy_name(request),
                translate.arm_name(request),
                translate.new_price(request),
                valid_from=moment(request, "valid_from"),
                who=caller().source,
            )
        )
        return pb.SetPriceResponse(policy=translate.policy_message(described))

    async def SetBudget(
        self, request: pb.SetBudgetRequest, context: Context
    ) -> pb.SetBudgetResponse:
        described = await self._catalog.change(
            lambda keeper: keeper.set_budget(
                translate.policy_name(request), new_budget(request), who=caller().source
            )
        )
        return pb.SetBudgetResponse(policy=translate.policy_message(described))

    async def GetBudget(
        self, request: pb.GetBudgetRequest, context: Context
    ) -> pb.GetBudgetResponse:
        state = await self._tenants.of(caller().tenant).learning.budget(
            translate.policy_name(request)
        )
        return pb.GetBudgetResponse(status=budget_status_message(state))
