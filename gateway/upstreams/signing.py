"""DKIM on the way out: a mail is signed once, by the keys of its author's domain; attempts share it."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from gateway.clock import Clock
from gateway.messages.model import NOTICE, Message
from smtp.address import AddressError, parse_address
from smtp.client import Content
from smtp.dkim import Signer
from smtp.headers import Field, HeaderError, author_addresses, join, parse

_LARGE_OCTETS = 1 << 20  # from here on in a thread, and one at a time: few copies, and the loop goes on


class SignerDirectory(Protocol):
    """The signing keys of each account's domains; answers from memory once a domain was asked for."""

    def known(self, account_id: str, domain: str) -> bool:
        """Whether `peek` has the last word: the domain's keys are in memory, or it is known to have none."""
        ...

    def peek(self, account_id: str, domain: str) -> Signer | None:
        """The signer of `domain` as far as it is in memory."""
        ...

    async def get(self, account_id: str, domain: str) -> Signer | None:
        """The signer of `domain`, None when this account has no key for it."""
        ...

    async def of_domain(self, domain: str) -> Signer | None:
        """The signer of `domain`, whichever account has a key for it."""
        ...


class Signing:
    """Prepares mail for its upstream."""

    def __init__(self, signers: SignerDirectory, clock: Clock) -> None:
        self._signers = signers
        self._clock = clock
        self._large = asyncio.Lock()

    def outgoing_now(self, message: Message) -> Content | None:
        """What DATA carries, where that needs no wait: keys in memory, and no thread for a large mail."""
        if message.outgoing is None and len(message.content) <= _LARGE_OCTETS:
            if message.prepared is None:
                message.prepared = self._sign_now(message)
            if message.prepared is not None:
                # Shaped in this process, from octets whose line ends its door has seen to.
                message.outgoing = Content.of(message.prepared, checked=message.author_domain is not None)
        return message.outgoing

    def _sign_now(self, message: Message) -> bytes | None:
        domain = message.author_domain
        if domain is None or not self._signers.known(message.account_id, domain):
            return None
        signer = self._signers.peek(message.account_id, domain)
        if signer is None:
            return message.content
        fields, body_start = parse(message.content)
        return _signed(signer, fields, message.content, body_start, self._clock.now_ms() // 1000)

    async def prepared(self, message: Message) -> bytes:
        """The octets to send: signatures in front of the content. Made at the first call, then kept."""
        if message.prepared is None:
            if len(message.content) <= _LARGE_OCTETS:
                message.prepared = await self._sign(message)
            else:
                async with self._large:
                    if message.prepared is None:
                        message.prepared = await self._sign(message)
        return message.prepared

    async def outgoing(self, message: Message) -> Content:
        """The same as DATA carries it; made once, shared by every attempt."""
        if message.outgoing is None:
            octets = await self.prepared(message)
            if len(octets) <= _LARGE_OCTETS:
                message.outgoing = Content.of(octets)
            else:
                async with self._large:
                    if message.outgoing is None:
                        message.outgoing = await asyncio.to_thread(Content.of, octets)
        return message.outgoing

    async def _sign(self, message: Message) -> bytes:
        try:
            fields, body_start = parse(message.content)
            domain = parse_address(author_addresses(fields)[0]).domain
        except (HeaderError, AddressError):
            return message.content  # only our own notifications have no author of a verified domain
        if message.ingress == NOTICE:  # whose author is the gateway, not the account that is told
            signer = await self._signers.of_domain(domain)
        else:
            signer = await self._signers.get(message.account_id, domain)
        if signer is None:
            return message.content
        now_s = self._clock.now_ms() // 1000
        if len(message.content) <= _LARGE_OCTETS:
            return _signed(signer, fields, message.content, body_start, now_s)
        return await asyncio.to_thread(_signed, signer, fields, message.content, body_start, now_s)


def _signed(signer: Signer, fields: Sequence[Field], content: bytes, body_start: int, now_s: int) -> bytes:
    body = content[body_start:]
    return join([*signer.sign(fields, body, now=now_s), *fields], body)
