"""Which operations a request's address has: a look-up for what is fixed, a walk for what has parameters."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import httptools

from gateway.http.gate.operation import Operation
from gateway.http.wire import kinds
from gateway.http.wire.problem import Problem

TARGET_MAX_OCTETS = 8192  # RFC 9112 section 3 wants 8,000 at least
_NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Path:
    """One path and its operations by method. The path "" stands for all that are not there."""

    path: str
    operations: Mapping[str, Operation]
    steps: Sequence[str] = ()  # of one with parameters, which stand in braces

    def operation(self, method: str) -> Operation:
        """What `method` does here. Raises Problem 404 and 405."""
        found = self.operations.get(method)
        if found is not None:
            return found
        if not self.operations:
            raise Problem(kinds.NOT_FOUND, "There is nothing at this path. The API is described at /docs.")
        allow = ", ".join(sorted(self.operations)).encode()
        raise Problem(
            kinds.METHOD_NOT_ALLOWED, f"Use {allow.decode()} on this path.", headers=[(b"allow", allow)]
        )

    def params(self, steps: Sequence[str]) -> Mapping[str, str] | None:
        """The parameters by name, None for an address that is not of this path."""
        params = {}
        for own, given in zip(self.steps, steps, strict=True):
            if own[:1] == "{":
                if not given:
                    return None
                params[own[1:-1]] = given
            elif own != given:
                return None
        return params


NOWHERE = Path("", {})


class Router:
    """All paths."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            by_path.setdefault(operation.path, {})[operation.method] = operation
        self._fixed: dict[str, Path] = {}
        self._with_parameters: dict[int, list[Path]] = {}
        for path, members in by_path.items():
            if "GET" in members:
                members.setdefault("HEAD", members["GET"])
            steps = path.split("/")
            if "{" in path:
                self._with_parameters.setdefault(len(steps), []).append(Path(path, members, steps))
            else:
                self._fixed[path] = Path(path, members)
        self._usual = {path.encode(): (found, path, _NONE) for path, found in self._fixed.items()}

    def find(self, target: bytes) -> tuple[Path, str, Mapping[str, str]]:
        """The path of a request's target (RFC 9112 section 3.2), the address decoded, and its parameters.

        Raises Problem 400 for what is no address, 414 for a long one.
        """
        usual = self._usual.get(target)
        if usual is not None:
            return usual
        if len(target) > TARGET_MAX_OCTETS:
            text = f"The address has {len(target)} octets with its query, {TARGET_MAX_OCTETS} are allowed."
            raise Problem(kinds.ADDRESS_TOO_LONG, text)
        return self._look(_steps(target))

    def _look(self, steps: Sequence[str]) -> tuple[Path, str, Mapping[str, str]]:
        address = "/".join(steps)
        found = self._fixed.get(address)
        if found is not None and len(steps) == address.count("/") + 1:
            return found, address, _NONE
        for path in self._with_parameters.get(len(steps), ()):
            params = path.params(steps)
            if params is not None:
                return path, address, params
        return NOWHERE, address, _NONE


def _steps(target: bytes) -> Sequence[str]:
    """What stands between the slashes, decoded: a "/" that was encoded is none (RFC 3986 section 2.2)."""
    try:
        path = httptools.parse_url(target).path
        if path is not None:
            return [unquote(step) for step in path.decode("ascii").split("/")]
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        pass
    raise Problem(kinds.BAD_REQUEST, "The request asks for no path of this server.")
