"""What a message costs, in whole credits (R12)."""


def mail_price(recipients: int, price_credits: int) -> int:
    """The price of a mail: credits per recipient times recipients."""
    return _product(recipients, price_credits, "recipients")


def sms_price(segments: int, price_credits: int) -> int:
    """The price of an SMS to one recipient: the route's credits per segment times segments."""
    return _product(segments, price_credits, "segments")


def _product(count: int, price_credits: int, what: str) -> int:
    """The product; a price of nothing or less would be a mistake, and is a ValueError."""
    if count < 1 or price_credits < 1:
        raise ValueError(f"{count} {what} at {price_credits} credits: both must be 1 or more")
    return count * price_credits
