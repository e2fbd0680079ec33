"""Examples for the description: what a newcomer would send, and what comes back. Tests decode every one."""

from gateway.http.describe.example import AT, ID

RECHARGE = {"enabled": True, "threshold": 100, "amount": 2000, "daily_cap": 20000, "low_balance": 200}
CREDITS = {
    "balances": {"mail": 500, "sms": 100, "validation": 0, "query": 0},
    "recharge": {"mail": RECHARGE},
}
LOT = {
    "id": ID,
    "product": "mail",
    "source": "free",
    "granted": 500,
    "remaining": 499,
    "released_at": AT,
    "expires_at": None,
    "order_id": None,
}
POSTING = {
    "id": ID,
    "product": "mail",
    "lot_id": ID,
    "kind": "debit",
    "credits": -1,
    "messages": 1,
    "note": None,
    "at": AT,
}
PURCHASE = {"product": "sms", "credits": 1000}
ORDER = {
    "id": ID,
    "product": "sms",
    "credits": 1000,
    "provider": "invoice",
    "reason": "purchase",
    "status": "pending",
    "note": None,
    "created_at": AT,
    "settled_at": None,
}
