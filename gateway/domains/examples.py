"""Examples for the description: what a newcomer would send, and what comes back. Tests decode every one."""

from gateway.http.describe.example import AT

RECORD = {
    "purpose": "dkim",
    "type": "TXT",
    "name": "gw1._domainkey.example.org",
    "value": "v=DKIM1; k=rsa; p=MIIB…",
}
DOMAIN = {
    "name": "example.org",
    "status": "pending",
    "created_at": AT,
    "verified_at": None,
    "keys": [{"selector": "gw1", "algorithm": "rsa-sha256", "state": "new", "created_at": AT}],
    "records": [RECORD],
}
CHECK_ROW = {"what": "SPF", "state": "ok", "name": "example.org", "found": "v=spf1 -all", "publish": ""}
CHECK = {"name": "example.org", "items": [CHECK_ROW]}
VERIFY = {"domain": DOMAIN, "items": [CHECK_ROW]}
