"""Examples for the description: what a newcomer would send, and what comes back. Tests decode every one."""

from gateway.http.describe.example import AT, ID

WEBHOOK = {
    "id": ID,
    "url": "https://example.org/hooks",
    "events": ["message.delivered", "message.failed"],
    "status": "active",
    "note": None,
    "created_at": AT,
}
WEBHOOK_ISSUED = {**WEBHOOK, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
DELIVERY = {
    "id": ID,
    "status": "delivered",
    "attempts": 1,
    "next_attempt_at": None,
    "reply": "200",
    "queued_at": AT,
    "body": {"type": "message.delivered", "timestamp": AT, "data": {"message_id": ID}},
}
