"""The pages for people: /docs (every operation with a command to try it) and /docs/problems.

Made once at the start from the operations; plain HTML without any script, nothing is loaded from elsewhere.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from gateway.http.describe import openapi
from gateway.http.gate.operation import ANY_KEY, PUBLIC, Operation
from gateway.http.wire.call import Call, Reply
from gateway.http.wire.kinds import Kind
from gateway.http.wire.problem import Header

_PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
_STYLE = _PAGE.partition("<style>")[2].partition("</style>")[0]
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
_SECURITY: Sequence[Header] = (
    (
        b"content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'".encode(),
    ),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_INTRODUCTION = """
<p>Send mail and SMS over one account, paid with prepaid credits. The same in a form for programs:
<a href="/openapi.json">OpenAPI 3.1</a>. What changed: <a href="/v1/changelog">changelog</a>.</p>
<dl>
<dt>Key</dt><dd><code>Authorization: Bearer KEY</code>, or <code>curl -u KEY:</code>, or
<code>X-API-Key: KEY</code>.</dd>
<dt>Errors</dt><dd>are <code>application/problem+json</code> with a <code>detail</code> that says what to do;
<a href="/docs/problems">all kinds</a>.</dd>
<dt>Repeating</dt><dd>With <code>Idempotency-Key</code> a submission or a purchase may be repeated: it counts
once, and is answered alike, with <code>Idempotency-Replayed: true</code>.</dd>
<dt>Lists</dt><dd>answer <code>items</code> and <code>next</code>; pass <code>next</code> as
<code>cursor</code>.</dd>
<dt>Rate</dt><dd>is told in <code>RateLimit-*</code>; after 429 and 503 wait for
<code>Retry-After</code> seconds.</dd>
<dt>Trying</dt><dd>The commands below take address and key from <code>var/demo.env</code>:
<code>set -a; . var/demo.env; set +a</code></dd>
</dl>
"""


def operations(described: Sequence[Operation], kinds: Sequence[Kind]) -> tuple[Operation, ...]:
    """The operations that serve the pages."""
    pages = {
        "/docs": ("getDocs", _page("API", _operations_html(described))),
        "/docs/problems": ("getProblems", _page("Problems", _problems_html(kinds))),
    }
    return (
        *(_page_operation(name, path, page) for path, (name, page) in pages.items()),
        Operation(
            id="getRoot",
            method="GET",
            path="/",
            handler=_to_docs,
            tag="About",
            summary="To the documentation",
            scope=PUBLIC,
            status=302,
            described=False,
        ),
    )


async def _to_docs(_call: Call) -> Reply:
    return Reply(302, headers=[(b"location", b"/docs")])


def _page_operation(name: str, path: str, page: bytes) -> Operation:
    async def get_page(_call: Call) -> Reply:
        return Reply(200, page, b"text/html; charset=utf-8", list(_SECURITY))

    return Operation(
        id=name,
        method="GET",
        path=path,
        handler=get_page,
        tag="About",
        summary="A page for people",
        scope=PUBLIC,
        described=False,
    )


def _page(title: str, body: str) -> bytes:
    return _PAGE.replace("{{title}}", escape(title)).replace("{{body}}", body).encode()


def _problems_html(kinds: Sequence[Kind]) -> str:
    rows = "".join(
        f'<tr id="{escape(kind.reason)}"><td><code>{escape(kind.reason)}</code></td><td>{kind.status}</td>'
        f"<td>{escape(kind.title)}</td><td>{escape(kind.advice)}</td></tr>"
        for kind in sorted(kinds, key=lambda kind: kind.status)
    )
    head = "<tr><th>reason</th><th>status</th><th>what</th><th>what to do</th></tr>"
    return f'<p><a href="/docs">API</a></p><h1>Problems</h1><table>{head}{rows}</table>'


def _operations_html(described: Sequence[Operation]) -> str:
    tags = list(dict.fromkeys(one.tag for one in described))
    menu = " · ".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in tags)
    sections = []
    for tag in tags:
        members = "".join(_operation_html(one) for one in described if one.tag == tag)
        sections.append(f'<section><h2 id="{escape(tag)}">{escape(tag)}</h2>{members}</section>')
    return f"<h1>Mail and SMS gateway</h1><nav>{menu}</nav>{_INTRODUCTION}{''.join(sections)}"


def _operation_html(one: Operation) -> str:
    scope = {PUBLIC: "no key needed", ANY_KEY: "any key"}.get(one.scope, f"scope {one.scope}")
    statuses = ", ".join(str(status) for status in openapi.statuses(one))
    title = f"<b>{one.method}</b> <code>{escape(one.path)}</code> {escape(one.summary)}"
    parts = [
        f'<details id="{escape(one.id)}"><summary>{title}</summary>',
        f"<p>{_code(one.description)}</p>" if one.description else "",
        f"<p>{escape(scope)} · {one.status}, or a problem: {statuses}</p>",
        _parameters_html(one),
    ]
    if one.body is None:
        parts.append(_pre(_curl(one, None)))
    for name, example in one.body_examples.items():
        parts.append(f"<h4>{escape(name)}</h4>{_pre(_curl(one, example))}")
    if one.answer_example is not None:
        parts.append(f"<h4>Answer</h4>{_pre(_json(one.answer_example))}")
    return "".join((*parts, "</details>"))


def _parameters_html(one: Operation) -> str:
    rows: Mapping[str, str] = {
        **one.params,
        **(dict.fromkeys(_query_names(one), "in the address, optional")),
    }
    if not rows:
        return ""
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>" for name, text in rows.items()
    )
    return f"<table>{cells}</table>"


def _query_names(one: Operation) -> Sequence[str]:
    return getattr(one.query, "__struct_encode_fields__", ())


def _curl(one: Operation, example: Any) -> str:
    usual = "GET" if example is None else "POST"  # what curl does by itself
    method = "" if one.method == usual else f"-X {one.method} "
    key = "" if one.scope == PUBLIC else ' -H "Authorization: Bearer $GATEWAY_API_KEY"'
    command = f'curl {method}"$GATEWAY_URL{one.path}"{key}'
    if example is None:
        return command
    body = _json(example).replace("'", "'\\''")
    return f"{command} \\\n  --json '{body}'"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _pre(text: str) -> str:
    return f"<pre>{escape(text, quote=False)}</pre>"


def _code(text: str) -> str:
    """Text with its `code` marked."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))
