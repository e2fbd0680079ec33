"""Examples for the description: what a newcomer would send, and what comes back. Tests decode every one."""

from gateway.http.describe.example import AT, ID

CAPTURED_MAIL = {
    "id": ID,
    "message_id": ID,
    "mail_from": "shop@demo.example",
    "from": "Shop <shop@demo.example>",
    "recipients": ["ada@example.net"],
    "subject": "Your order 4711",
    "size_octets": 1500,
    "received_at": AT,
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
    "received_at": AT,
}
