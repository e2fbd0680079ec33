"""The gateway.toml of a daemon under test: fast retries, a short lease, and both upstreams on loopback."""

_TEMPLATE = """
[store]
url = "{store_url}"
lease_s = 3
[smtp]
port = {smtp_port}
tls_port = 0
plain_auth_on_loopback = true
[http]
port = {http_port}
rate_per_s = 100000
[smpp]
port = {smpp_port}
[metrics]
enabled = false
[probe]
enabled = false
[log]
level = "warning"
[mail.retry]
first_s = 0.2
max_s = 1.0
[sms.retry]
first_s = 0.2
max_s = 1.0
[upstream.sink]
type = "relay"
host = "127.0.0.1"
port = {mail_port}
tls = "none"
[upstream.operator]
type = "smpp"
host = "127.0.0.1"
port = {smsc_port}
system_id = "sandbox"
password = "sandbox"
window = 50
reconnect_min_s = 0.1
reconnect_max_s = 0.5
response_timeout_s = {response_timeout_s}
"""


def installation_toml(
    *,
    store_url: str,
    smtp_port: int,
    http_port: int,
    smpp_port: int,
    mail_port: int,
    smsc_port: int,
    response_timeout_s: int,
) -> str:
    """The text, without a [server] section.

    `smtp_port`, `http_port` and `smpp_port` are the daemon's own, `mail_port` and `smsc_port` those of the
    sinks it relays to. After `response_timeout_s` the outcome of a submit_sm is unknown.
    """
    return _TEMPLATE.format(
        store_url=store_url,
        smtp_port=smtp_port,
        http_port=http_port,
        smpp_port=smpp_port,
        mail_port=mail_port,
        smsc_port=smsc_port,
        response_timeout_s=response_timeout_s,
    )
