"""The HTTP API: from a request's octets to an answer, and its own description.

A request comes in through `server` (uvicorn's protocol on the daemon's event loop), finds its path in `app`,
and passes the gate there: method, key, scope, rate (`access`). Its `Operation` (one table per resource
module) names the handler, which gets a `Call` and answers a `Reply` or raises a `Problem`; whatever else is
raised becomes one in `problems`. The same tables give the OpenAPI document (`openapi`) and the page for
people (`docs`), so what is described is what is served.

Submissions (`submit`, `mail`, `sms`, `batch`) are the hot path: no read of the database, one write.
"""
