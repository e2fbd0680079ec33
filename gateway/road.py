"""The road of a message, put together: shapers → acceptor → dispatcher → upstreams, and the queue's keeper.

`build` makes the one of a process, over the configured upstreams; tests make one with upstreams of their own.
"""

from collections.abc import Callable

from config.schema import Settings
from config.sections.upstreams import SmppUpstream
from gateway.clock import Clock
from gateway.credits.service import Credits
from gateway.domains.signers import Signers
from gateway.ground import Ground
from gateway.ids import IdFactory
from gateway.jobs.loop import Watch
from gateway.messages.accept.acceptor import Acceptor
from gateway.messages.deliver.dispatcher import Dispatcher
from gateway.messages.deliver.lanes import Lanes
from gateway.messages.dsn import Dsns
from gateway.messages.model import Channel
from gateway.messages.observer import Observer
from gateway.messages.ports import Upstreams
from gateway.messages.queue.bell import Bell
from gateway.messages.queue.keeper import QueueKeeper
from gateway.messages.receipts.intake import Intake, Offers
from gateway.messages.route import Router
from gateway.messages.settle import retry
from gateway.messages.shape.mail import MailShaper, SenderDomains
from gateway.messages.shape.sms import ApprovedNames, SmsShaper
from gateway.sendernames.service import SenderNames
from gateway.store.held import HeldLeases
from gateway.store.store import Store
from gateway.store.tenure import Tenure
from gateway.turns import Slices
from gateway.upstreams import registry
from gateway.upstreams.signing import Signing
from policy.acceptable_use import sensitive_numbers
from policy.countries import CountryTable
from policy.engine import Policy, Submission
from smtp.limits import MailLimits

_PARKED_MAX = 10_000


class Road:
    """Everything between an ingress and the upstreams of one process.

    `domains` and `sender_names` are the ground's, unless others are given.
    """

    def __init__(
        self,
        ground: Ground,
        upstreams: Upstreams,
        *,
        countries: CountryTable,
        observer: Observer,
        tenure: Tenure | None = None,
        offers: Offers | None = None,
        watch: Watch | None = None,
        domains: SenderDomains | None = None,
        sender_names: ApprovedNames | None = None,
    ) -> None:
        settings, store, clock, ids = ground.settings, ground.store, ground.clock, ground.ids
        credits = ground[Credits]
        domains = domains or ground[Signers]
        self.upstreams = upstreams
        self.tenure = tenure or make_tenure(settings, store, clock, ids)
        self.offers = offers or Offers()
        policies = acceptable_use(settings)
        self.mail_limits = mail_limits(settings)
        self.slices = Slices()
        self.rules = retry.channel_rules(settings)
        self.router = Router(
            mail=settings.mail.route,
            mail_price_credits=settings.mail.price_credits,
            sms=settings.sms.route,
            upstreams=upstreams,
        )
        bell = self.bell = Bell()
        self.dispatcher = Dispatcher(
            store=store,
            upstream_of=self.router.upstream_of,
            rules=self.rules,
            lanes=Lanes(
                deliveries_max=settings.limits.queue_memory_messages,
                octets_max=settings.limits.queue_memory_octets,
            ),
            clock=clock,
            tenure=self.tenure,
            unsettled_max=2 * settings.store.batch_max,  # one batch is written, one gathers
            keep_content=retry.keeps_content(settings),
            observer=observer,
            make_dsns=Dsns(
                server_name=settings.server.name,
                lifetime_ms=settings.mail.lifetime_s * 1000,
                domains=domains,
                router=self.router,
                ids=ids,
                clock=clock,
            ),
            bell=bell,
        )
        self.queue = QueueKeeper(
            store=store,
            dispatcher=self.dispatcher,
            router=self.router,
            clock=clock,
            tenure=self.tenure,
            lease_s=settings.store.lease_s,
            bell=bell,
            watch=watch,
        )
        self.acceptor = Acceptor(
            store=store,
            dispatcher=self.dispatcher,
            clock=clock,
            terms=credits.terms,
            observer=observer,
            spilled=self.queue.wake,
            recharge=credits.charge_soon,
            learn_balance=credits.learn_balance,
        )
        self.mail = MailShaper(
            server_name=settings.server.name,
            lifetime_ms=settings.mail.lifetime_s * 1000,
            router=self.router,
            domains=domains,
            policies=policies,
            ids=ids,
            limits=self.mail_limits,
            slices=self.slices,
        )
        self.sms = SmsShaper(
            settings=settings.sms,
            sender_settings=settings.sender_name,
            countries=countries,
            router=self.router,
            sender_names=sender_names or ground[SenderNames],
            policies=policies,
            ids=ids,
        )

    def offer(self, ground: Ground) -> None:
        """Puts what doors and handlers ask for on the ground."""
        for part in (
            self.mail,
            self.sms,
            self.acceptor,
            self.router,
            self.mail_limits,
            self.slices,
            self.bell,
        ):
            ground.add(part)
        ground.add(self.upstreams)

    async def start(self) -> None:
        """Opens the upstreams, takes over what a dead process held, and begins to deliver."""
        for upstream in self.upstreams.values():
            await upstream.start(self)
        await self.queue.start()

    def ready(self, destination: str) -> None:
        """A link came up: what waits for it need not wait any longer (`ports.Links`)."""
        self.dispatcher.wake(destination)
        self.queue.wake()

    def more(self, destination: str) -> None:
        """There is room for more attempts at once (`ports.Links`)."""
        self.dispatcher.more(destination)

    async def stop(self, drain_s: float) -> None:
        """Ends attempts under way within `drain_s` seconds and leaves the rest in the database."""
        await self.queue.stop()
        for upstream in self.upstreams.values():
            upstream.withdraw()
        await self.dispatcher.stop(drain_s)
        for upstream in self.upstreams.values():
            await upstream.stop(drain_s)
        await self.queue.release()


def build(ground: Ground, countries: CountryTable, observer: Observer, watch: Watch | None = None) -> Road:
    """The road of one process over the configured upstreams."""
    settings, store, clock = ground.settings, ground.store, ground.clock
    tenure = make_tenure(settings, store, clock, ground.ids, lost=observer.lease_lost)
    leases = None
    if not store.exclusive:  # other processes may be on this database
        leases = HeldLeases(store, clock, holder=tenure.process, lease_s=settings.store.lease_s)
    offers = Offers()
    intake = Intake(
        store,
        clock,
        retry.channel_rules(settings)[Channel.SMS],
        keep_content=retry.keeps_content(settings),
        parked_max=_parked_max(settings),
        observer=observer,
        offers=offers,
    )
    tools = registry.Tools(
        settings=settings,
        store=store,
        clock=clock,
        signing=Signing(ground[Signers], clock),
        on_receipts=intake.receipts,
        on_late=intake.late,
        leases=leases,
        may_send=tenure.may_send,
    )
    return Road(
        ground,
        registry.build(tools),
        countries=countries,
        observer=observer,
        tenure=tenure,
        offers=offers,
        watch=watch,
    )


def make_tenure(
    settings: Settings,
    store: Store,
    clock: Clock,
    ids: IdFactory,
    *,
    lost: Callable[[], None] = lambda: None,
) -> Tenure:
    """This process's lease on what it holds; `lost` is called whenever it was lost."""
    return Tenure(store, clock, lambda: ids.new(clock.now_ms()), lease_s=settings.store.lease_s, lost=lost)


def acceptable_use(settings: Settings) -> list[Policy[Submission]]:
    """The policies that the configuration turned on (R32)."""
    use = settings.acceptable_use
    policies: list[Policy[Submission]] = []
    if use.refuse_card_numbers or use.refuse_ibans:
        policies.append(sensitive_numbers(cards=use.refuse_card_numbers, ibans=use.refuse_ibans))
    return policies


def mail_limits(settings: Settings) -> MailLimits:
    """What a mail may hold, from the configuration."""
    limits = settings.limits
    return MailLimits(**{name: getattr(limits, name) for name in MailLimits.__struct_fields__})


def _parked_max(settings: Settings) -> int:
    most = [
        one.max_unanswered_receipts for one in settings.upstream.values() if isinstance(one, SmppUpstream)
    ]
    return max(most, default=0) or _PARKED_MAX
