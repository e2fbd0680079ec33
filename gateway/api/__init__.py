"""The HTTP API: from a request's octets to an answer, and its own description.

A request comes in over a `connection` of the `server` and goes to the `app`, where it finds its path
(`router`) and passes the gate: method, key, scope, rate (`access`). Its `Operation` (one table per resource
module) names the handler, which gets a `Call` and answers a `Reply` or raises a `Problem`; whatever else is
raised becomes one in `problems`. `answer` makes octets of it. The same tables give the OpenAPI document
(`openapi`) and the page for people (`docs`), so what is described is what is served.

Submissions (`submit`, `mail`, `sms`, `batch`) are the hot path: no read of the database, one write.
"""
