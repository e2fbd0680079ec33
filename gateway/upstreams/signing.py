"""DKIM on the way out: a mail is signed once, by the keys of its author's domain; attempts share it."""

from typing import Protocol

from gateway.messages.model import Message
from gateway.ports import Clock
from smtp.address import AddressError, parse_address
from smtp.dkim import Signer
from smtp.headers import HeaderError, author_addresses, join, parse


class SignerDirectory(Protocol):
    """The signing keys of each account's domains; answers from memory once a domain was asked for."""

    async def get(self, account_id: str, domain: str) -> Signer | None:
        """The signer of `domain`, None when this account has no key for it."""
        ...


class Signing:
    """Prepares mail for its upstream."""

    def __init__(self, signers: SignerDirectory, clock: Clock) -> None:
        self._signers = signers
        self._clock = clock

    async def prepared(self, message: Message) -> bytes:
        """The octets to send: signatures in front of the content. Made at the first call, then kept."""
        if message.prepared is None:
            message.prepared = await self._sign(message)
        return message.prepared

    async def _sign(self, message: Message) -> bytes:
        try:
            fields, body_start = parse(message.content)
            domain = parse_address(author_addresses(fields)[0]).domain
        except (HeaderError, AddressError):
            return message.content  # only our own notifications have no author of a verified domain
        signer = await self._signers.get(message.account_id, domain)
        if signer is None:
            return message.content
        body = message.content[body_start:]
        signatures = signer.sign(fields, body, now=self._clock.now_ms() // 1000)
        return join([*signatures, *fields], body)
