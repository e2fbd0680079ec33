"""Examples for the description: what a newcomer would send, and what comes back. Tests decode every one."""

ID = "01jd3v9k2xq6b7m8n9p0r1s2t3"
_AT = "2026-11-16T09:30:00Z"
ACCOUNT = {
    "id": ID,
    "name": "Demo",
    "status": "active",
    "email": "demo@example.org",
    "rate_per_s": 1000.0,
    "created_at": _AT,
    "key": {"id": ID, "prefix": "0123456789ab", "scopes": ["*"]},
}
