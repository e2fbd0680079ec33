"""Examples for the description: what a newcomer would send, and what comes back. Tests decode every one."""

from typing import Any

ID = "01jd3v9k2xq6b7m8n9p0r1s2t3"
_AT = "2026-11-16T09:30:00Z"

MAIL: dict[str, Any] = {
    "simple": {
        "from": "Shop <shop@demo.example>",
        "to": ["Ada Lovelace <ada@example.net>"],
        "subject": "Your order 4711",
        "text": "It is on its way.",
        "tags": ["orders"],
    },
    "complete": {
        "from": "Shop <shop@demo.example>",
        "to": "ada@example.net",
        "cc": ["grace@example.net"],
        "reply_to": "help@demo.example",
        "subject": "News of November",
        "text": "See the picture.",
        "html": '<p>See <img src="cid:picture">.</p>',
        "headers": {"X-Campaign": "november"},
        "attachments": [
            {
                "filename": "picture.gif",
                "content_type": "image/gif",
                "content_id": "picture",
                "content": "R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==",
            }
        ],
        "unsubscribe": {"https": "https://example.org/unsubscribe/4711"},
        "metadata": {"customer": 4711},
    },
    "raw": {
        "from": "shop@demo.example",
        "to": ["ada@example.net"],
        "raw": "RnJvbTogc2hvcEBkZW1vLmV4YW1wbGUNClN1YmplY3Q6IEhlbGxvDQoNCkhlbGxvDQo=",
    },
}
SMS: dict[str, Any] = {
    "simple": {"from": "DemoCo", "to": "+41791234567", "text": "Your code is 123456."},
    "several": {
        "from": "DemoCo",
        "to": ["+41791234567", "+41791234568"],
        "text": "The shop opens at nine.",
        "validity_s": 3600,
        "tags": ["news"],
        "send_at": "2026-11-17T08:00:00+01:00",
    },
}
BATCH: dict[str, Any] = {
    "both": {
        "items": [{"type": "mail", **MAIL["simple"]}, {"type": "sms", **SMS["simple"]}],
    }
}
ACCEPTED_MAIL = {"id": ID, "channel": "mail", "status": "queued", "price_credits": 1}
ACCEPTED_SMS = {"id": ID, "channel": "sms", "status": "queued", "price_credits": 1, "segments": 1}
BATCH_ANSWER = {
    "accepted": 1,
    "items": [
        {"accepted": True, **ACCEPTED_MAIL},
        {
            "accepted": False,
            "problem": {
                "type": "/docs/problems#sender_name",
                "title": "The sender cannot be used",
                "status": 422,
                "detail": "DemoCo is not approved; request it under /v1/sendernames.",
                "reason": "sender_name",
            },
        },
    ],
}
SUMMARY: dict[str, Any] = {
    "id": ID,
    "channel": "sms",
    "status": "delivered",
    "from": "DemoCo",
    "subject": None,
    "recipient_count": 1,
    "size_octets": 20,
    "segments": 1,
    "price_credits": 1,
    "refunded_credits": 0,
    "ingress": "http",
    "tags": [],
    "metadata": {},
    "accepted_at": _AT,
    "send_at": None,
    "finished_at": "2026-11-16T09:30:01Z",
}
MESSAGE = {
    **SUMMARY,
    "recipients": [
        {
            "address": "+41791234567",
            "status": "delivered",
            "attempts": 1,
            "price_credits": 1,
            "refunded_credits": 0,
            "reply": "DELIVRD",
            "next_attempt_at": None,
            "sender": "DemoCo",
        }
    ],
    "events": [
        {"id": ID, "type": "message.accepted", "at": _AT, "recipient": None, "detail": {"ingress": "http"}}
    ],
}
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
    "released_at": _AT,
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
    "at": _AT,
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
    "created_at": _AT,
    "settled_at": None,
}
ACCOUNT = {
    "id": ID,
    "name": "Demo",
    "status": "active",
    "email": "demo@example.org",
    "rate_per_s": 1000.0,
    "created_at": _AT,
    "key": {"id": ID, "prefix": "0123456789ab", "scopes": ["*"]},
}
RECORD = {
    "purpose": "dkim",
    "type": "TXT",
    "name": "gw1._domainkey.example.org",
    "value": "v=DKIM1; k=rsa; p=MIIB…",
}
DOMAIN = {
    "name": "example.org",
    "status": "pending",
    "created_at": _AT,
    "verified_at": None,
    "keys": [{"selector": "gw1", "algorithm": "rsa-sha256", "state": "new", "created_at": _AT}],
    "records": [RECORD],
}
CHECK_ROW = {"what": "SPF", "state": "ok", "name": "example.org", "found": "v=spf1 -all", "publish": ""}
CHECK = {"name": "example.org", "items": [CHECK_ROW]}
VERIFY = {"domain": DOMAIN, "items": [CHECK_ROW]}
DOCUMENTS = [
    {
        "kind": "company_registration",
        "filename": "registration.pdf",
        "content_type": "application/pdf",
        "content": "JVBERi0xLjcK",
    },
    {
        "kind": "identity",
        "filename": "passport.pdf",
        "content_type": "application/pdf",
        "content": "JVBERi0xLjcK",
    },
]
SENDERNAME = {
    "name": "ACME",
    "status": "pending",
    "note": None,
    "documents": ["company_registration", "identity"],
    "created_at": _AT,
    "decided_at": None,
}
WEBHOOK = {
    "id": ID,
    "url": "https://example.org/hooks",
    "events": ["message.delivered", "message.failed"],
    "status": "active",
    "note": None,
    "created_at": _AT,
}
WEBHOOK_ISSUED = {**WEBHOOK, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
DELIVERY = {
    "id": ID,
    "status": "delivered",
    "attempts": 1,
    "next_attempt_at": None,
    "reply": "200",
    "queued_at": _AT,
    "body": {"type": "message.delivered", "timestamp": _AT, "data": {"message_id": ID}},
}
CAPTURED_MAIL = {
    "id": ID,
    "message_id": ID,
    "mail_from": "shop@demo.example",
    "from": "Shop <shop@demo.example>",
    "recipients": ["ada@example.net"],
    "subject": "Your order 4711",
    "size_octets": 1500,
    "received_at": _AT,
}
CAPTURED_MAIL_DETAILS = {
    **CAPTURED_MAIL,
    "headers": [["Subject", "Your order 4711"]],
    "text": "It is on its way.",
    "html": None,
    "attachments": [],
    "notes": [],
    "raw": "U3ViamVjdDogWW91ciBvcmRlciA0NzExDQoNCkl0IGlzIG9uIGl0cyB3YXkuDQo=",
}
CAPTURED_SMS = {
    "id": "5f3a1b2c4d5e",
    "message_id": ID,
    "from": "DemoCo",
    "to": "+41791234567",
    "text": "Your code is 123456.",
    "parts": 1,
    "complete": True,
    "received_at": _AT,
}
CHANGE = {"date": "2026-11-16", "kind": "added", "breaking": False, "text": "The first version."}


def page(item: Any) -> dict[str, Any]:
    """A list of one."""
    return {"items": [item], "next": None}
