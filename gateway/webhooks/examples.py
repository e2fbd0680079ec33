"""Examples for the description: what a newcomer would send, and what comes back. Tests decode every one."""

ID = "01jd3v9k2xq6b7m8n9p0r1s2t3"
_AT = "2026-11-16T09:30:00Z"
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
