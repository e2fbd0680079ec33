"""The road of a message, put together: shapers → acceptor → dispatcher → upstreams, and the queue's keeper.

`gateway.daemon` builds one `Road` per process and gives it to every ingress. Tests build one on a temporary
store with upstreams of their own.
"""

from collections.abc import Callable
from functools import partial

from config.schema import Settings
from gateway.clock import Clock
from gateway.credits.service import Credits
from gateway.ground import Ground
from gateway.ids import IdFactory
from gateway.jobs.loop import Watch
from gateway.messages import retry
from gateway.messages.accept import Acceptor
from gateway.messages.deliver import Dispatcher
from gateway.messages.lanes import Lanes
from gateway.messages.observer import Observer
from gateway.messages.ports import Upstreams
from gateway.messages.queue import QueueKeeper
from gateway.messages.route import Router
from gateway.messages.settling import Reports
from gateway.messages.shape_mail import MailShaper, SenderDomains
from gateway.messages.shape_sms import SenderNames, SmsShaper
from gateway.store.store import Store
from gateway.store.tenure import Tenure
from gateway.turns import Slices
from gateway.upstreams.sandbox.sms import SandboxSms
from gateway.upstreams.smpp_operator import SmppOperator
from policy.acceptable_use import sensitive_numbers
from policy.countries import CountryTable
from policy.engine import Policy, Submission
from smtp.limits import MailLimits


class Road:
    """Everything between an ingress and the upstreams of one process."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        clock: Clock,
        ids: IdFactory,
        credits: Credits,
        domains: SenderDomains,
        sender_names: SenderNames,
        countries: CountryTable,
        upstreams: Upstreams,
        reports: Reports,
        observer: Observer,
        tenure: Tenure | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.upstreams = upstreams
        self.tenure = tenure or make_tenure(settings, store, clock, ids)
        policies = acceptable_use(settings)
        self.mail_limits = mail_limits(settings)
        self.slices = Slices()
        self.keep_content = settings.retention.content_hours > 0
        self.rules = retry.channel_rules(settings)
        self.router = Router(
            mail=settings.mail.route,
            mail_price_credits=settings.mail.price_credits,
            sms=settings.sms.route,
            upstreams=upstreams,
        )
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
            keep_content=self.keep_content,
            observer=observer,
            reports=reports,
        )
        self.queue = QueueKeeper(
            store=store,
            dispatcher=self.dispatcher,
            router=self.router,
            clock=clock,
            tenure=self.tenure,
            lease_s=settings.store.lease_s,
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
            sender_names=sender_names,
            policies=policies,
            ids=ids,
        )

    def offer(self, ground: Ground) -> None:
        """Puts what doors and handlers ask for on the ground."""
        for part in (self.mail, self.sms, self.acceptor, self.router, self.mail_limits, self.slices):
            ground.add(part)
        ground.add(self.upstreams)

    async def start(self) -> None:
        """Opens the upstreams, takes over what a dead process held, and begins to deliver."""
        for upstream in self.upstreams.values():
            if isinstance(upstream, SmppOperator | SandboxSms):
                upstream.ready = partial(self._ready, upstream.name)
                upstream.more = partial(self.dispatcher.more, upstream.name)
            await upstream.start()
        await self.queue.start()

    def _ready(self, destination: str) -> None:
        """A link came up: what waits for it need not wait any longer."""
        self.dispatcher.wake(destination)
        self.queue.wake()

    async def stop(self, drain_s: float) -> None:
        """Ends attempts under way within `drain_s` seconds and leaves the rest in the database."""
        await self.queue.stop()
        for upstream in self.upstreams.values():
            upstream.withdraw()
        await self.dispatcher.stop(drain_s)
        for upstream in self.upstreams.values():
            await upstream.stop(drain_s)
        await self.queue.release()


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
    if not use.refuse_card_numbers and not use.refuse_ibans:
        return []
    return [sensitive_numbers(cards=use.refuse_card_numbers, ibans=use.refuse_ibans)]


def mail_limits(settings: Settings) -> MailLimits:
    """What a mail may hold, from the configuration."""
    limits = settings.limits
    return MailLimits(**{name: getattr(limits, name) for name in MailLimits.__struct_fields__})
