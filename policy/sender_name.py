"""Who an SMS comes from: which SenderNames have the right form (R22), and what is submitted where (R23, R25).

A sender is a name, an international number, or a short code. `decide` answers with what to submit, with its
TON and NPI, or with a rejection; what was asked for stays in the answer, so that both can be recorded. Which
names an account has had approved, and the table of countries, are the caller's to bring.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Literal

from policy.countries import Confidence, CountryTable, Names
from policy.verdict import ACCEPT, Judgement, Reason, Refuse


class Ton(IntEnum):
    """Type of number, SMPP v3.4 section 5.2.5."""

    UNKNOWN = 0
    INTERNATIONAL = 1
    NETWORK_SPECIFIC = 3
    ALPHANUMERIC = 5


class Npi(IntEnum):
    """Numbering plan, SMPP v3.4 section 5.2.6."""

    UNKNOWN = 0
    E164 = 1


class Why(StrEnum):
    """Why a sender was decided so: a bounded set, recorded with the message."""

    AS_REQUESTED = "as-requested"
    FORM = "form"
    """It is neither a name, nor a number, nor a short code (R22)."""
    NOT_APPROVED = "not-approved"
    """It has not been validated for this account (R23)."""
    NONE_REQUESTED = "none-requested"
    COUNTRY = "country"
    """The country does not show names (R25)."""
    REGISTRATION = "registration"
    """The country shows registered names only (R25)."""
    ROUTE = "route"
    """The operator on this route takes numbers only (R25)."""


Action = Literal["name", "number", "reject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is submitted for what was requested; `source` is empty when rejected."""

    action: Action
    requested: str
    source: str = ""
    ton: Ton = Ton.UNKNOWN
    npi: Npi = Npi.UNKNOWN
    why: Why
    text: str = ""
    advice: str = ""

    @property
    def verdict(self) -> Judgement:
        """The decision as the verdict on a submission."""
        if self.action != "reject":
            return ACCEPT
        return Refuse(reason=Reason.SENDER_NAME, text=self.text, advice=self.advice)


_WHERE_NAMES_ARE_NOT_FREE: dict[tuple[Names, Confidence], tuple[Action, Action]] = {
    (Names.NOT_ALLOWED, Confidence.SURE): ("number", "reject"),
    (Names.NOT_ALLOWED, Confidence.LESS_SURE): ("number", "name"),
    (Names.REGISTRATION, Confidence.SURE): ("number", "name"),
    (Names.REGISTRATION, Confidence.LESS_SURE): ("name", "name"),
}
"""What is done with a name (R25): where there is a fallback number, and where there is none."""

_LETTER = re.compile(r"[A-Za-z]")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]+\Z")
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{6,14}\Z")  # ITU-T E.164 section 6.1
_SHORT_CODE = re.compile(r"[0-9]{3,8}\Z")


def check_name(name: str, max_length: int = 10) -> Judgement:
    """Whether a text is formed as a SenderName: 1 to `max_length` letters or digits, not digits alone (R22).

    Letters are A to Z in either case: no others are safe in every operator's alphabet.
    """
    if not name:
        return _refuse("is empty", f"choose 1 to {max_length} letters and digits")
    if not _ALPHANUMERIC.match(name):
        odd = next(sign for sign in name if not _ALPHANUMERIC.match(sign))
        shown = "a space" if odd == " " else repr(odd)
        return _refuse(f"has {shown} in it", "use only the letters A to Z and digits")
    if not _LETTER.search(name):
        return _refuse("has no letter", "use at least one, or request a phone number instead")
    if len(name) > max_length:
        return _refuse(f"has {len(name)} characters", f"use at most {max_length}")
    return ACCEPT


def check_form(sender: str, max_length: int = 10) -> Judgement:
    """Whether a text may be a sender at all: a SenderName, an international number, or a short code (R22)."""
    if _INTERNATIONAL.match(sender) or _SHORT_CODE.match(sender):
        return ACCEPT
    if sender and set(sender) <= set("0123456789+()-./ "):
        return _refuse("is no number", "write a phone number with its country code, such as +41791234567")
    return check_name(sender, max_length)


def decide(
    requested: str,
    country: str,
    *,
    table: CountryTable,
    approved: Collection[str],
    fallback_number: str = "",
    registered: bool = False,
    names_on_route: bool = True,
    numbers_need_approval: bool = True,
    max_length: int = 10,
) -> Decision:
    """What to submit as the source of an SMS to `country`.

    `approved` are the account's validated senders (R23). `registered` says that this name is registered
    with the operators of the country. `names_on_route` is False where the upstream takes numbers only.
    Where a name is not shown, the operator's `fallback_number` goes out in its place, since delivery comes
    first; a name that may still arrive goes out itself, and one that surely would not is rejected (R25).
    """
    if not requested:
        text, advice = "no sender is given", "name an approved SenderName"
        return _fallback(requested, fallback_number, Why.NONE_REQUESTED, text, advice)
    form = check_form(requested, max_length)
    if isinstance(form, Refuse):
        return _reject(requested, Why.FORM, form.text, form.advice)
    is_name = _LETTER.search(requested) is not None
    own = requested == fallback_number or (not is_name and not numbers_need_approval)
    if requested not in approved and not own:
        text = "the sender is not approved for this account"
        return _reject(requested, Why.NOT_APPROVED, text, _near(requested, approved))
    if not is_name:
        return _number(requested, requested, Why.AS_REQUESTED)
    return _decide_name(requested, country, table, fallback_number, registered, names_on_route)


def _decide_name(
    requested: str, country: str, table: CountryTable, fallback: str, registered: bool, on_route: bool
) -> Decision:
    """What to submit for an approved name (R25)."""
    entry = table.of(country)
    if not on_route:
        text = "the operator on this route takes numbers only"
        return _fallback(requested, fallback, Why.ROUTE, text, "use an approved phone number as the sender")
    if entry is None or entry.names is Names.FREE or (entry.names is Names.REGISTRATION and registered):
        return _name(requested, Why.AS_REQUESTED)
    why = Why.COUNTRY if entry.names is Names.NOT_ALLOWED else Why.REGISTRATION
    with_fallback, without = _WHERE_NAMES_ARE_NOT_FREE[entry.names, entry.confidence]
    if (with_fallback if fallback else without) == "name":
        return _name(requested, why)
    text = f"names are not shown as the sender in {country}"
    return _fallback(requested, fallback, why, text, "use an approved phone number as the sender")


def _name(requested: str, why: Why) -> Decision:
    """Submit the name: TON 5, NPI 0."""
    return Decision(
        action="name", requested=requested, source=requested, ton=Ton.ALPHANUMERIC, npi=Npi.UNKNOWN, why=why
    )


def _number(requested: str, number: str, why: Why) -> Decision:
    """Submit a number: international TON 1, NPI 1 without the plus; a short code TON 3, NPI 0."""
    international = number.startswith("+")
    return Decision(
        action="number",
        requested=requested,
        source=number.removeprefix("+"),
        ton=Ton.INTERNATIONAL if international else Ton.NETWORK_SPECIFIC,
        npi=Npi.E164 if international else Npi.UNKNOWN,
        why=why,
    )


def _fallback(requested: str, number: str, why: Why, text: str, advice: str) -> Decision:
    """Submit the fallback number, or reject where there is none."""
    return _number(requested, number, why) if number else _reject(requested, why, text, advice)


def _reject(requested: str, why: Why, text: str, advice: str) -> Decision:
    """Submit nothing."""
    return Decision(action="reject", requested=requested, why=why, text=text, advice=advice)


def _near(requested: str, approved: Collection[str]) -> str:
    """What to do about a sender that is not approved; case matters, since recipients see it."""
    same = sorted(name for name in approved if name.casefold() == requested.casefold())
    return f"write it as approved: {same[0]}" if same else "ask for its approval, or use an approved one"


def _refuse(what: str, advice: str) -> Refuse:
    """A refusal of a sender's form."""
    return Refuse(reason=Reason.SENDER_NAME, text=f"the sender {what}", advice=advice)
