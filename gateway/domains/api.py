"""/v1/domains: sender domains, what to publish for them, and what is published."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from gateway.domains import examples
from gateway.domains.check import Row
from gateway.domains.service import Domain, Domains, records_of
from gateway.http.gate import cursors
from gateway.http.gate.operation import Operation
from gateway.http.gate.paging import Page, given, one_of
from gateway.http.gate.times import moment, moment_or_none
from gateway.http.wire.call import NO_CONTENT, Call, Reply, json_reply

_LIST = "domains"


class DomainQuery(Page, kw_only=True, forbid_unknown_fields=True):
    """Which page of the domains."""


class DomainRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A domain to send from."""

    name: Annotated[str, msgspec.Meta(max_length=255)]


class DnsRecordAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A record to publish."""

    purpose: Literal["dkim", "spf", "dmarc"]
    type: str
    name: str
    value: str


class DkimKeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A DKIM key. A new one signs once `verify` has seen its record; a retired one's record stays a week."""

    selector: str
    algorithm: str
    state: Literal["new", "active", "retired"]
    created_at: datetime


class DomainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A sender domain, its name in A-labels."""

    name: str
    status: Literal["pending", "verified"]
    created_at: datetime
    verified_at: datetime | None
    keys: list[DkimKeyAnswer]
    records: list[DnsRecordAnswer]


class DomainList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of domains by name."""

    items: list[DomainAnswer]
    next: str | None


class CheckRow(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `publish`: the record to publish when the state is not ok."""

    what: str
    state: Literal["ok", "missing", "wrong", "unknown"]
    name: str
    found: str
    publish: str


class CheckAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is published for a domain, and what should be."""

    name: str
    items: list[CheckRow]


class VerifyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The domain after looking for its DKIM records, and what was found."""

    domain: DomainAnswer
    items: list[CheckRow]


_DOMAIN = msgspec.json.Decoder(DomainRequest)


async def list_domains(call: Call) -> Reply:
    """A page of the account's domains."""
    query = call.query(DomainQuery)
    after = cursors.decode(_LIST, call.account_id, given(query.cursor)) or ""
    found = await call.service(Domains).list(call.account_id, after=after, limit=query.limit + 1)
    shown = found[: query.limit]
    more = len(found) > query.limit
    cursor = cursors.encode(_LIST, call.account_id, shown[-1].name) if more else None
    return json_reply(DomainList(items=[_answer(call, one) for one in shown], next=cursor))


async def add_domain(call: Call) -> Reply:
    """A new domain with new keys."""
    request = await call.json(_DOMAIN)
    domain = await call.service(Domains).add(call.account_id, request.name)
    return json_reply(
        _answer(call, domain), 201, [(b"location", f"/v1/domains/{domain.name}".encode("ascii"))]
    )


async def get_domain(call: Call) -> Reply:
    """One domain with the records to publish."""
    return json_reply(_answer(call, await call.service(Domains).get(call.account_id, _name(call))))


async def delete_domain(call: Call) -> Reply:
    """Takes a domain away."""
    await call.service(Domains).remove(call.account_id, _name(call))
    return Reply(NO_CONTENT)


async def rotate_domain(call: Call) -> Reply:
    """New DKIM keys beside those that sign."""
    return json_reply(_answer(call, await call.service(Domains).rotate(call.account_id, _name(call))))


async def verify_domain(call: Call) -> Reply:
    """Looks for the records of the new keys; those found sign from now on."""
    domain, rows = await call.service(Domains).verify(call.account_id, _name(call))
    return json_reply(VerifyAnswer(domain=_answer(call, domain), items=_rows(rows)))


async def check_domain(call: Call) -> Reply:
    """SPF, DKIM, DMARC and MX as they are published."""
    domains = call.service(Domains)
    domain = await domains.get(call.account_id, _name(call))
    rows = await domains.check(call.account_id, domain.name)
    return json_reply(CheckAnswer(name=domain.name, items=_rows(rows)))


def _name(call: Call) -> str:
    return call.params["name"]


def _answer(call: Call, domain: Domain) -> DomainAnswer:
    return DomainAnswer(
        name=domain.name,
        status=domain.status.value,
        created_at=moment(domain.created_ms),
        verified_at=moment_or_none(domain.verified_ms),
        keys=[
            DkimKeyAnswer(
                selector=key.selector,
                algorithm=key.algorithm,
                state=key.state,  # type: ignore[arg-type]  # one of the three words
                created_at=moment(key.created_ms),
            )
            for key in domain.keys
        ],
        records=[
            DnsRecordAnswer(
                purpose=record.purpose,  # type: ignore[arg-type]  # one of the three words
                type=record.type,
                name=record.name,
                value=record.value,
            )
            for record in records_of(domain, call.settings.mail.egress_ips)
        ],
    )


def _rows(rows: Sequence[Row]) -> list[CheckRow]:
    return [
        CheckRow(what=row.what, state=row.state.value, name=row.name, found=row.found, publish=row.publish)
        for row in rows
    ]


_NAMES = {"name": "The domain, in A-labels or Unicode."}

OPERATIONS = (
    Operation(
        id="listDomains",
        method="GET",
        path="/v1/domains",
        handler=list_domains,
        tag="Domains",
        summary="Sender domains by name",
        scope="domains:read",
        query=DomainQuery,
        answer=DomainList,
        answer_example=one_of(examples.DOMAIN),
        problems=(400,),
    ),
    Operation(
        id="addDomain",
        method="POST",
        path="/v1/domains",
        handler=add_domain,
        tag="Domains",
        summary="Add a domain to send from",
        scope="domains:write",
        description="It comes with new DKIM keys. Publish its `records`, then have it verified.",
        body=DomainRequest,
        body_examples={"domain": {"name": "example.org"}},
        status=201,
        answer=DomainAnswer,
        answer_example=examples.DOMAIN,
        problems=(409,),
    ),
    Operation(
        id="getDomain",
        method="GET",
        path="/v1/domains/{name}",
        handler=get_domain,
        tag="Domains",
        summary="A domain and what to publish for it",
        scope="domains:read",
        params=_NAMES,
        answer=DomainAnswer,
        answer_example=examples.DOMAIN,
        problems=(404,),
    ),
    Operation(
        id="deleteDomain",
        method="DELETE",
        path="/v1/domains/{name}",
        handler=delete_domain,
        tag="Domains",
        summary="Take a domain away",
        scope="domains:write",
        params=_NAMES,
        status=204,
        problems=(404,),
    ),
    Operation(
        id="checkDomain",
        method="GET",
        path="/v1/domains/{name}/check",
        handler=check_domain,
        tag="Domains",
        summary="SPF, DKIM, DMARC and MX as they are published",
        scope="domains:read",
        params=_NAMES,
        answer=CheckAnswer,
        answer_example=examples.CHECK,
        problems=(404,),
    ),
    Operation(
        id="verifyDomain",
        method="POST",
        path="/v1/domains/{name}/verify",
        handler=verify_domain,
        tag="Domains",
        summary="Look for the DKIM records of the new keys",
        scope="domains:write",
        description="Keys whose records are there sign from now on; the first RSA key verifies the domain.",
        params=_NAMES,
        answer=VerifyAnswer,
        answer_example=examples.VERIFY,
        problems=(404,),
    ),
    Operation(
        id="rotateDomain",
        method="POST",
        path="/v1/domains/{name}/rotate",
        handler=rotate_domain,
        tag="Domains",
        summary="Make new DKIM keys",
        scope="domains:write",
        description="The old ones sign until `verify` has seen the records of the new ones.",
        params=_NAMES,
        answer=DomainAnswer,
        answer_example=examples.DOMAIN,
        problems=(404,),
    ),
)
