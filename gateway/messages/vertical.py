"""Messages: sent over HTTP, looked at and called back; their rows and how long they are kept."""

from collections.abc import Sequence

from config.schema import Settings
from gateway.ground import Ground
from gateway.jobs.chores import Chore
from gateway.jobs.retention import Purge, older_than, sweeping
from gateway.messages import cli, tables
from gateway.messages.api import messages, problems, submit
from gateway.messages.events import TOLD
from gateway.messages.notices import Notices
from gateway.messages.queue.bell import Bell
from gateway.messages.queue.cancel import Cancelling
from gateway.messages.receipts import apply, client
from gateway.messages.receipts.tables import client_receipt
from gateway.messages.retention import FinalMessages
from gateway.messages.route import Router
from gateway.messages.settle import retry
from gateway.notices.kind import NoticeKinds
from gateway.vertical import Vertical
from policy.retention import DAY_MS

_NOTICES_S = 60.0


def _make(ground: Ground) -> None:
    settings = ground.settings
    rules, keep_content = retry.channel_rules(settings), retry.keeps_content(settings)
    ground.add(Cancelling(ground.store, ground.clock, rules, keep_content=keep_content))


def _purges(settings: Settings) -> Sequence[Purge]:
    keep, sms = settings.retention, settings.sms
    receipts_ms = sms.receipt_timeout_s * 1000
    return (
        sweeping(apply.purge_parts, older_than(receipts_ms + sms.lifetime_s * 1000)),
        sweeping(apply.purge_parked, older_than(receipts_ms)),
        sweeping(client.purge, older_than(keep.event_days * DAY_MS)),
        FinalMessages(keep).purge,
    )


def _jobs(ground: Ground) -> Sequence[Chore]:
    notices = Notices(
        ground.settings,
        store=ground.store,
        clock=ground.clock,
        kinds=ground[NoticeKinds],
        router=ground[Router],
        sent=ground[Bell].ring,
    )
    return (Chore(name="notices_send", work=notices.send, every_s=_NOTICES_S),)


MESSAGES = Vertical(
    name="messages",
    tables=(
        tables.message,
        tables.delivery,
        tables.content,
        tables.sms_part,
        tables.parked_receipt,
        client_receipt,
    ),
    make=_make,
    operations=(*submit.OPERATIONS, *messages.OPERATIONS),
    commands=(cli.app,),
    scopes=("mail:send", "sms:send", "messages:read", "messages:write"),
    event_kinds=dict.fromkeys(TOLD, "messages:read"),
    kinds=problems.EVERY,
    problems=problems.TRANSLATIONS,
    jobs=_jobs,
    purges=_purges,
)
