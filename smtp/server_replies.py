"""What the submission server says. Texts stay generic: they tell what to do, never what went on inside."""

from __future__ import annotations

from smtp.codes import Code, Permanent, Reply, Status

# 2yz and 3yz, ready for the wire
OK = Reply(Code.OK, Status.OK, "OK").render()
SENDER_OK = Reply(Code.OK, Status.SENDER_OK, "Sender OK").render()
RECIPIENT_OK = Reply(Code.OK, Status.RECIPIENT_OK, "Recipient OK").render()
GO_AHEAD = Reply(Code.START_INPUT, "", "End data with <CR><LF>.<CR><LF>").render()
GO_SECURE = Reply(Code.READY, Status.OK, "Ready to start TLS").render()
BYE = Reply(Code.CLOSING, Status.OK, "Bye").render()
AUTHENTICATED = Reply(Code.AUTHENTICATED, Status.SECURITY_OK, "Authentication successful")

# 421: the connection closes after it (RFC 5321 section 3.8)
SHUTTING_DOWN = Reply(Code.UNAVAILABLE, Status.SHUTTING_DOWN, "Service is shutting down, try again later")
TOO_MANY_CONNECTIONS = Reply(Code.UNAVAILABLE, Status.SHUTTING_DOWN, "Too many connections, try later")
DISMISSED = Reply(Code.UNAVAILABLE, Status.POLICY_TEMPORARY, "Too many connections, log in sooner").render()
TIMED_OUT = Reply(Code.UNAVAILABLE, Status.BAD_CONNECTION, "Timeout, closing the connection")
NOT_HTTP = Reply(Code.UNAVAILABLE, Status.POLICY_TEMPORARY, "This is SMTP, not HTTP")
TOO_MANY_ERRORS = Reply(Code.UNAVAILABLE, Status.POLICY_TEMPORARY, "Too many errors")
TOO_MANY_FAILURES = Reply(Code.UNAVAILABLE, Status.POLICY_TEMPORARY, "Too many failed logins")

# Temporary
APPLICATION_FAILED = Reply(Code.LOCAL_ERROR, Status.SYSTEM_ERROR, "Local error, try again later")
TOO_MANY_RECIPIENTS = Reply(Code.INSUFFICIENT_STORAGE, Status.TOO_MANY_RECIPIENTS, "Too many recipients")

# Syntax
LINE_TOO_LONG = Reply(Code.SYNTAX_ERROR, Status.COMMAND_SYNTAX, "Line too long")
BARE_LF = Reply(Code.SYNTAX_ERROR, Status.COMMAND_SYNTAX, "Lines must end with CRLF")
CONTROL_CHARACTER = Reply(Code.SYNTAX_ERROR, Status.COMMAND_SYNTAX, "Control character in the command")
UNKNOWN_COMMAND = Reply(Code.SYNTAX_ERROR, Status.INVALID_COMMAND, "Command not recognised")
NOT_OFFERED = Reply(Code.NOT_IMPLEMENTED, Status.INVALID_COMMAND, "Not offered here")
NEEDS_EHLO = Reply(Code.UNKNOWN_PARAMETER, Status.INVALID_ARGUMENTS, "Parameters need EHLO")

# TLS and AUTH (RFC 3207 section 4, RFC 4954 section 6)
INJECTION = Reply(Code.BAD_SEQUENCE, Status.INVALID_COMMAND, "Nothing may follow STARTTLS before its answer")
TLS_FIRST = Reply(Code.AUTH_REQUIRED, Status.POLICY, "Must issue a STARTTLS command first")
AUTH_FIRST = Reply(Code.AUTH_REQUIRED, Status.POLICY, "Authentication required")
AUTH_NEEDS_TLS = Reply(
    Code.ENCRYPTION_REQUIRED, Status.ENCRYPTION_NEEDED_FOR_MECHANISM, "Authentication needs encryption"
)
AUTH_MECHANISM = Reply(
    Code.PARAMETER_NOT_IMPLEMENTED, Status.INVALID_ARGUMENTS, "Use AUTH PLAIN or AUTH LOGIN"
)
AUTH_LINE_TOO_LONG = Reply(Code.SYNTAX_ERROR, Status.COMMAND_TOO_LONG, "Authentication line too long")
AUTH_CANCELLED = Reply(Code.PARAMETER_SYNTAX, Status.POLICY, "Authentication cancelled")
BAD_BASE64 = Reply(Code.PARAMETER_SYNTAX, Status.COMMAND_SYNTAX, "Cannot decode base64")
CREDENTIALS_INVALID = Reply(
    Code.AUTH_INVALID, Status.CREDENTIALS_INVALID, "Authentication credentials invalid"
)


def bad_sequence(text: str) -> Permanent:
    """503: a command out of order."""
    return Permanent(Reply(Code.BAD_SEQUENCE, Status.INVALID_COMMAND, text))


def bad_argument(text: str) -> Permanent:
    """501: an argument that does not parse."""
    return Permanent(Reply(Code.PARAMETER_SYNTAX, Status.INVALID_ARGUMENTS, text))
