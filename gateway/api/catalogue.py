"""Every operation there is, in the order in which paths are matched: the hot ones first."""

from config.schema import Settings
from gateway.api import (
    account,
    changelog,
    credits,
    docs,
    domains,
    health,
    messages,
    openapi,
    sandbox_mail,
    sandbox_sms,
    sendernames,
    submit,
    webhooks,
)
from gateway.api.operation import Operation

DESCRIBED: tuple[Operation, ...] = (
    *submit.OPERATIONS,
    *messages.OPERATIONS,
    *credits.OPERATIONS,
    *account.OPERATIONS,
    *domains.OPERATIONS,
    *sendernames.OPERATIONS,
    *webhooks.OPERATIONS,
    *sandbox_mail.OPERATIONS,
    *sandbox_sms.OPERATIONS,
    *changelog.OPERATIONS,
    *health.OPERATIONS,
)


def everything(settings: Settings) -> tuple[Operation, ...]:
    """The operations with their description: the OpenAPI document and the pages made of it."""
    document = openapi.document(DESCRIBED, server=settings.http.public_url or "/")
    return (*DESCRIBED, openapi.operation(document), *docs.operations(DESCRIBED))
