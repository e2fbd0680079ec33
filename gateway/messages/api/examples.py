"""Examples for the description: what a newcomer would send, and what comes back. Tests decode every one."""

from typing import Any

from gateway.http.describe.example import AT, ID

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
    "accepted_at": AT,
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
        {"id": ID, "type": "message.accepted", "at": AT, "recipient": None, "detail": {"ingress": "http"}}
    ],
}
