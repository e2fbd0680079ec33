"""Examples for the description: what a newcomer would send, and what comes back. Tests decode every one."""

from gateway.http.describe.example import AT

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
    "created_at": AT,
    "decided_at": None,
}
