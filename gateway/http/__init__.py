"""The HTTP API: from a request's octets to an answer, and its own description. It knows no vertical.

A request comes in over a connection of the server (`wire/`) and goes to the app, where it finds its path and
passes the gate: method, key, scope, rate (`gate/`). Its `Operation`, which stands in its vertical's `api.py`,
names the handler, which gets a `Call` and answers a `Reply` or raises a `Problem`; whatever else is raised
becomes one (`gate/translate.py`). The same operations give the OpenAPI document and the page for people
(`describe/`), so what is described is what is served.
"""
