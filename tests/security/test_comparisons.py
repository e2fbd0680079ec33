"""Secrets are compared in constant time, and what is slow to compare is bounded before it is begun."""

import ast
import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.sections.limits import Limits
from gateway.accounts import auth, secrets
from gateway.accounts.auth import Authenticator, AuthRefused
from gateway.accounts.credentials import Credentials
from gateway.accounts.secrets import CredentialKind
from gateway.clock import SystemClock
from gateway.store.cache import Caches
from tests.http.world import world

ROOT = Path(__file__).parents[2]
# Names that hold secrets, or what is as good as one.
SECRET_NAMES = frozenset(
    {
        "secret",
        "password",
        "passwd",
        "token",
        "digest",
        "secret_hash",
        "stored",
        "signature",
        "computed",
        "hmac",
    }
)
# file: the text of a comparison, and why it may take a time that tells.
REVIEWED = {
    "config/kinds.py": {
        "self._value == other._value": "both sides are the operator's own files, at a reload"
    },
    "gateway/store/idempotency.py": {
        "digest": "of the client's own earlier request, within its own account; it learns what it has sent"
    },
}


def comparisons() -> Iterator[tuple[str, int, str]]:
    """Every == and != of the sources in which a secret's name stands: file, line, text."""
    for package in ("gateway", "smtp", "smpp", "config", "policy"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Compare) and _is_of_secrets(node):
                    yield str(path.relative_to(ROOT)), node.lineno, ast.unparse(node)


def _is_of_secrets(node: ast.Compare) -> bool:
    equal = any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
    return equal and any(_is_secret(side) for side in (node.left, *node.comparators))


def _is_secret(side: ast.expr) -> bool:
    """Whether a side of a comparison is named like a secret; `len(secret)` and a constant are not."""
    name = side.id if isinstance(side, ast.Name) else side.attr if isinstance(side, ast.Attribute) else ""
    if name.isupper():
        return False  # a constant
    words = set(name.lower().strip("_").split("_"))
    return bool(words & SECRET_NAMES) or name == "_value"


def test_no_secret_is_compared_by_a_comparison_that_stops_early() -> None:
    found = list(comparisons())
    unreviewed = [
        f"{path}:{line}: {text}"
        for path, line, text in found
        if not any(reviewed in text for reviewed in REVIEWED.get(path, {}))
    ]
    assert unreviewed == [], "compare with hmac.compare_digest, or give the reason in REVIEWED"
    for path, texts in REVIEWED.items():
        for text in texts:
            assert any(text in one for file, _, one in found if file == path), (
                f"{path} has no {text!r} any more"
            )


@pytest.mark.parametrize("module", [secrets])
def test_secrets_are_compared_by_compare_digest(module: object) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text())  # type: ignore[attr-defined]  # modules have one
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "matches"]
    returns = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
    assert len(returns) == 2
    for value in returns:
        assert isinstance(value, ast.Call)
        assert ast.unparse(value.func) == "hmac.compare_digest"


@pytest.mark.parametrize("kind", [CredentialKind.API, CredentialKind.SMTP, CredentialKind.SMPP])
async def test_an_unknown_user_and_a_wrong_secret_get_the_same_answer(
    tmp_path: Path, kind: CredentialKind
) -> None:
    async with world(tmp_path) as api:
        issued = await api.ground[Credentials].create(api.account_id, kind)
        told = set()
        for username in (
            issued.credential.username,
            "0123456789ab" if kind is CredentialKind.API else "nobody",
        ):
            with pytest.raises(AuthRefused) as refused:
                await api.ground[Authenticator].password(kind, username, "wrong", "192.0.2.9")
            told.add((refused.value.reason, refused.value.detail))
        assert len(told) == 1


async def test_the_slow_hash_is_bounded_before_it_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many guess at once, two hashes run, 64 wait, and the rest are told to come again."""
    running, most, lock = 0, 0, threading.Lock()
    begun, go_on = threading.Event(), threading.Event()

    def slow(_stored: str, _secret: str) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        begun.set()
        go_on.wait(10)
        with lock:
            running -= 1
        return False

    monkeypatch.setattr(auth, "matches", slow)
    limits = Limits(auth_free_failures=1_000_000)
    async with world(tmp_path) as api:
        caches: Caches = api.ground.caches
        authenticator = Authenticator(caches, SystemClock(), limits)

        async def guess(number: int) -> str:
            try:
                await authenticator.password(
                    CredentialKind.SMPP, f"user{number}", "wrong", f"10.0.{number}.1"
                )
            except AuthRefused as refused:
                return refused.reason
            return "let in"

        guesses = [asyncio.create_task(guess(number)) for number in range(200)]
        async with asyncio.timeout(10):
            while sum(task.done() for task in guesses) < 200 - 64:
                await asyncio.sleep(0.005)
        refused_at_once = [task.result() for task in guesses if task.done()]
        assert set(refused_at_once) == {"busy"}
        go_on.set()
        reasons = await asyncio.gather(*guesses)
    assert begun.is_set()
    assert most <= 2
    assert reasons.count("busy") == 200 - 64
    assert set(reasons) == {"busy", "credentials"}


async def test_a_secret_of_any_length_is_refused_without_a_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "matches", lambda *_: pytest.fail("it was hashed"))
    async with world(tmp_path) as api:
        for username, password in (("user", "x" * 100_000), ("u" * 100_000, "x"), ("ü", "x"), ("a\0b", "x")):
            with pytest.raises(AuthRefused):
                await api.ground[Authenticator].password(CredentialKind.SMPP, username, password, "192.0.2.9")
