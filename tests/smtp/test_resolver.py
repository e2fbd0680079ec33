"""Finding the hosts of a domain: by a DNS in a dictionary, and by real questions on loopback."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from smtp.codes import Permanent, SmtpError, Temporary
from smtp.dns_client import BlockingDns, DnsPython
from smtp.resolver import (
    MAX_ADDRESSES,
    MAX_HOSTS,
    CacheTimes,
    Dns,
    Host,
    LookupFailedError,
    NoSuchName,
    Resolver,
    is_public,
)
from tests.smtp.fake_dns import SERVFAIL, DnsServer, FakeDns

A, B = "192.0.2.1", "2001:db8::1"


def anywhere(address: str) -> bool:
    return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def resolver(dns: Dns, clock: Clock | None = None, **options: object) -> Resolver:
    options = {"rng": random.Random(1), "clock": clock or Clock(), "is_allowed": anywhere} | options
    return Resolver(dns, **options)  # type: ignore[arg-type]  # keywords of the test's own choice


async def fault(dns: Dns, domain: str = "x.example", **options: Any) -> SmtpError:
    with pytest.raises(SmtpError) as caught:
        await resolver(dns, **options).resolve(domain)
    return caught.value


async def test_hosts_come_by_preference_each_with_its_addresses() -> None:
    dns = FakeDns(
        {"x.example": [(20, "b.example"), (10, "a.example")]}, {"a.example": [A, B], "b.example": [A]}
    )
    assert await resolver(dns).resolve("X.Example") == [
        Host(10, "a.example", (A, B)),
        Host(20, "b.example", (A,)),
    ]


async def test_hosts_of_equal_preference_change_order_from_call_to_call() -> None:
    names = [f"{n}.example" for n in range(4)]
    dns = FakeDns(
        {"x.example": [(10, name) for name in names] + [(20, "last.example")]},
        {n: [A] for n in [*names, "last.example"]},
    )
    finder = resolver(dns)
    orders = {tuple(host.name for host in await finder.resolve("x.example")) for _ in range(20)}
    assert len(orders) > 5
    assert {order[-1] for order in orders} == {"last.example"}


async def test_domain_without_mx_is_its_own_host() -> None:
    assert await resolver(FakeDns({}, {"x.example": [A]})).resolve("x.example") == [
        Host(0, "x.example", (A,))
    ]


@pytest.mark.parametrize(
    ("mx", "hosts", "kind", "enhanced"),
    [
        ({}, {}, Permanent, "5.1.2"),
        ({"x.example": [(0, "")]}, {}, Permanent, "5.1.10"),
        ({"x.example": SERVFAIL}, {}, Temporary, "4.4.3"),
        ({"x.example": []}, {"x.example": []}, Permanent, "5.4.4"),
        ({"x.example": []}, {"x.example": SERVFAIL}, Temporary, "4.4.3"),
        ({"x.example": [(1, "gone.example")]}, {}, Permanent, "5.4.4"),
        ({"x.example": [(1, "gone.example"), (2, "a.example")]}, {"a.example": SERVFAIL}, Temporary, "4.4.3"),
    ],
)
async def test_faults_are_permanent_or_temporary(
    mx: dict[str, object], hosts: dict[str, object], kind: type[SmtpError], enhanced: str
) -> None:
    error = await fault(FakeDns(mx, hosts))
    assert isinstance(error, kind)
    assert error.reply.enhanced == enhanced


async def test_one_host_that_resolves_is_enough() -> None:
    dns = FakeDns(
        {"x.example": [(1, "gone.example"), (2, "ill.example"), (3, "a.example"), (4, "")]},
        {"ill.example": SERVFAIL, "a.example": [A]},
    )
    assert await resolver(dns).resolve("x.example") == [Host(3, "a.example", (A,))]


async def test_address_literals_need_no_dns() -> None:
    dns = FakeDns({}, {})
    assert await resolver(dns).resolve("[192.0.2.1]") == [Host(0, "[192.0.2.1]", (A,))]
    assert await resolver(dns).resolve("[IPv6:2001:DB8::1]") == [Host(0, "[IPv6:2001:db8::1]", (B,))]
    assert dns.asked == []
    assert (await fault(dns, "[127.0.0.1]", is_allowed=is_public)).reply.enhanced == "5.4.4"
    assert isinstance(await fault(dns, "[300.1.1.1]"), Permanent)


async def test_international_domain_is_asked_for_in_a_labels() -> None:
    dns = FakeDns({"xn--bcher-kva.example": [(1, "a.example")]}, {"a.example": [A]})
    assert await resolver(dns).resolve("Bücher.example") == [Host(1, "a.example", (A,))]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1", "224.0.0.1", "0.0.0.0"]
)
async def test_hosts_that_are_not_public_are_left_out(address: str) -> None:
    dns = FakeDns({"x.example": [(1, "a.example")]}, {"a.example": [address]})
    error = await fault(dns, is_allowed=is_public)
    assert error.reply.enhanced == "5.4.4"
    assert "public" in error.reply.text
    dns = FakeDns({"x.example": [(1, "a.example")]}, {"a.example": [address, "8.8.8.8"]})
    assert await resolver(dns, is_allowed=is_public).resolve("x.example") == [
        Host(1, "a.example", ("8.8.8.8",))
    ]


async def test_mail_does_not_loop_back_through_ourselves() -> None:
    dns = FakeDns(
        {"x.example": [(10, "a.example"), (20, "gw.example"), (30, "c.example")]}, {"a.example": [A]}
    )
    assert [h.name for h in await resolver(dns, own_names=["GW.example"]).resolve("x.example")] == [
        "a.example"
    ]
    assert (await fault(dns, own_names=["a.example"])).reply.enhanced == "5.4.6"


async def test_number_of_hosts_and_addresses_is_capped() -> None:
    names = [f"{n}.example" for n in range(100)]
    dns = FakeDns({"x.example": [(n, name) for n, name in enumerate(names)]}, {n: [A] * 100 for n in names})
    hosts = await resolver(dns).resolve("x.example")
    assert len(hosts) == MAX_HOSTS
    assert {len(host.addresses) for host in hosts} == {MAX_ADDRESSES}
    assert len(dns.asked) == 1 + MAX_HOSTS


# The cache


async def test_answer_is_kept_for_its_time_to_live_within_bounds() -> None:
    for ttl_s, kept_s in ((300, 300), (0, 30), (10**9, 3600)):
        clock, dns = Clock(), FakeDns({"x.example": [(1, "a.example")]}, {"a.example": [A]}, ttl_s)
        finder = resolver(dns, clock)
        await finder.resolve("x.example")
        clock.now = kept_s - 1
        await finder.resolve("x.example")
        assert len(dns.asked) == 2
        clock.now = kept_s
        await finder.resolve("x.example")
        assert len(dns.asked) == 4


async def test_permanent_is_kept_briefly_and_temporary_not_at_all() -> None:
    clock, dns = Clock(), FakeDns({"ill.example": SERVFAIL}, {})
    finder = resolver(dns, clock, times=CacheTimes(negative_s=60))
    for domain, asked in (("no.example", 1), ("ill.example", 3)):
        for _ in range(2):
            with pytest.raises(SmtpError):
                await finder.resolve(domain)
        assert len(dns.asked) == asked
    clock.now = 60
    with pytest.raises(Permanent):
        await finder.resolve("no.example")
    assert len(dns.asked) == 4


async def test_least_used_name_is_forgotten_first() -> None:
    dns = FakeDns({}, {f"{n}.example": [A] for n in range(4)})
    finder = resolver(dns, cached_names=2)
    for name in ("0.example", "1.example", "0.example", "2.example"):
        await finder.resolve(name)
    dns.asked.clear()
    await finder.resolve("0.example")
    assert dns.asked == []
    await finder.resolve("1.example")
    assert dns.asked != []


async def test_many_callers_share_one_question_and_one_giving_up_harms_none() -> None:
    dns = FakeDns({}, {"x.example": [A]})
    dns.gate = asyncio.Event()
    finder = resolver(dns)
    tasks = [asyncio.create_task(finder.resolve("x.example")) for _ in range(10)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    dns.gate.set()
    async with asyncio.timeout(5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [[Host(0, "x.example", (A,))]] * 9
    assert dns.asked == ["x.example", "x.example"]
    assert finder._pending == {}


# Real questions

ZONE = {
    ("x.example.", "MX"): ["10 MX1.x.example.", "20 alias.x.example."],
    ("mx1.x.example.", "A"): [A],
    ("mx1.x.example.", "AAAA"): [B],
    ("alias.x.example.", "CNAME"): ["mx1.x.example."],
    ("x.example.", "TXT"): ['"v=spf1 " "-all"', '"other"'],
    ("null.example.", "MX"): ["0 ."],
    ("ill.example.", "MX"): [SERVFAIL],
    ("half.example.", "A"): [A],
    ("half.example.", "AAAA"): [SERVFAIL],
    ("many.example.", "MX"): [f"{n} mx{n}.many.example." for n in range(40)],
}


async def test_real_questions_over_udp_and_tcp() -> None:
    async with DnsServer.running(ZONE) as server:
        dns = DnsPython(["127.0.0.1"], port=server.port, timeout_s=5)
        assert await resolver(dns).resolve("x.example") == [
            Host(10, "mx1.x.example", (A, B)),
            Host(20, "alias.x.example", (A, B)),
        ]
        assert set((await dns.txt("x.example")).values) == {b"v=spf1 -all", b"other"}  # in any order
        assert (await dns.txt("mx1.x.example")).values == ()
        assert (await dns.mx("null.example")).values == ((0, ""),)
        assert (await dns.addresses("half.example")).values == (A,)
        assert (await dns.addresses("alias.x.example")).ttl_s == 60
        assert (
            await DnsPython(["127.0.0.1"], port=server.port, ipv6=False).addresses("mx1.x.example")
        ).values == (A,)
        with pytest.raises(NoSuchName):
            await dns.mx("gone.example")
        with pytest.raises(NoSuchName):
            await dns.mx("a" * 64 + ".example")
        with pytest.raises(LookupFailedError):
            await dns.mx("ill.example")
        assert server.asked_over_tcp == 0
        assert len((await dns.mx("many.example")).values) == 40
        assert server.asked_over_tcp == 1


async def test_blocking_questions_in_a_thread() -> None:
    async with DnsServer.running(ZONE) as server:
        ask = BlockingDns(["127.0.0.1"], port=server.port, timeout_s=5)
        records = await asyncio.to_thread(ask, "x.example", "MX")
        assert sorted(record.preference for record in records) == [10, 20]
        with pytest.raises(NoSuchName):
            await asyncio.to_thread(ask, "gone.example", "A")


async def test_server_that_does_not_answer_is_a_failed_lookup() -> None:
    async with DnsServer.running(ZONE) as server:
        port = server.port
    dns = DnsPython(["127.0.0.1"], port=port, timeout_s=0.2)
    with pytest.raises(LookupFailedError):
        await dns.mx("x.example")


def test_public_addresses_are_told_from_others() -> None:
    check: Callable[[str], bool] = is_public
    assert [check(a) for a in ("8.8.8.8", "2600::1", "192.168.1.1", "100.64.0.1", "ff02::1")] == [
        *(True, True),
        *(False, False, False),
    ]
