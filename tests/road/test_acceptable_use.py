"""What the operator forbids is refused on the road itself: each rule on the channels that it is for (R32)."""

from dataclasses import replace
from pathlib import Path

import pytest

from config.sections.messages import AcceptableUse
from tests.support.fakes import FakeUpstream
from tests.world import MAIL, Rig, make_settings, rig

CARD = "4111 1111 1111 1111"
IBAN = "DE89 3704 0044 0532 0130 00"


async def sent(one: Rig, place: str, text: str) -> str | None:
    """Why a message with `text` there is refused; None where it is taken."""
    if place == "sms":
        return (await one.send_sms(text=text)).refused
    inside = b"Hello" if place == "subject" else b"Body"
    return (await one.send_mail(content=MAIL.replace(inside, text.encode()))).refused


@pytest.mark.parametrize("place", ["sms", "subject", "body"])
@pytest.mark.parametrize(
    ("rule", "text", "reason"),
    [("refuse_card_numbers", CARD, "card-number"), ("refuse_ibans", IBAN, "iban")],
)
async def test_a_rule_holds_on_its_channels_and_on_no_other(
    tmp_path: Path, place: str, rule: str, text: str, reason: str
) -> None:
    channel, other = ("sms", "mail") if place == "sms" else ("mail", "sms")
    for name, refused in ((channel, reason), (other, None)):
        use = AcceptableUse(**{rule: (name,)})  # type: ignore[arg-type]  # named by the table
        folder = tmp_path / name
        folder.mkdir()
        settings = replace(make_settings(), acceptable_use=use)
        async with rig(folder, [FakeUpstream()], settings=settings) as one:
            assert await sent(one, place, text) == refused
            assert await sent(one, place, "Hello") is None
