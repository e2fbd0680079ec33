"""Examples for the description: what a newcomer would send, and what comes back. Tests decode every one."""

from gateway.http.describe.example import AT, ID

ACCOUNT = {
    "id": ID,
    "name": "Demo",
    "status": "active",
    "email": "demo@example.org",
    "rate_per_s": 1000.0,
    "created_at": AT,
    "key": {"id": ID, "prefix": "0123456789ab", "scopes": ["*"]},
}
