"""Keys that contradict each other are answered with the keys' names."""

import pytest

from tests.config.conftest import Faults, Loader

MX = "[upstream.out]\ntype = 'mx'\n"
RELAY = "[upstream.smarthost]\ntype = 'relay'\nhost = 'smtp.example.org'\n"
SMPP = "[upstream.op]\ntype = 'smpp'\nhost = 'h.example.org'\nsystem_id = 'gw'\npassword = 'abc'\n"


def test_one_mail_upstream_needs_no_route_and_leaves_the_sandbox_for_sms(load_text: Loader) -> None:
    settings = load_text(MX)
    assert list(settings.upstream) == ["out", "sandbox_sms"]
    assert [(route.match, route.upstream) for route in settings.mail.route] == [("*", "out")]
    assert not settings.sandbox


def test_the_implicit_sms_route_has_the_price_of_the_section(load_text: Loader) -> None:
    assert load_text("[sms]\nprice_credits = 3").sms.route[0].price_credits == 3


def test_written_routes_keep_their_order_and_prices(load_text: Loader) -> None:
    route = "[[sms.route]]\nupstream = 'op'\n"
    settings = load_text(SMPP + route + "match = '+41*'\nprice_credits = 5\n" + route)
    assert [(r.match, r.price_credits) for r in settings.sms.route] == [("+41*", 5), ("*", 1)]


def test_several_upstreams_of_a_channel_without_routes_are_refused(faults_of: Faults) -> None:
    (fault,) = faults_of(MX + RELAY)
    assert fault == (
        "mail.route: missing, with several mail upstreams (out, smarthost), "
        "write [[mail.route]] with match and upstream"
    )


def test_a_route_to_an_unknown_upstream_suggests_a_known_one(faults_of: Faults) -> None:
    assert faults_of(MX + RELAY + "[[mail.route]]\nupstream = 'smarthos'") == [
        'mail.route[0].upstream: no upstream is named "smarthos", did you mean smarthost?'
    ]


def test_a_route_to_the_other_channel_is_refused(faults_of: Faults) -> None:
    assert faults_of(SMPP + "[[mail.route]]\nupstream = 'op'") == [
        'mail.route[0].upstream: "op" is of type "smpp", which does not take mail, there are sandbox_mail'
    ]


def test_two_routes_with_the_same_match_are_refused(faults_of: Faults) -> None:
    route = "[[mail.route]]\nmatch = '*.ch'\nupstream = 'out'\n"
    assert faults_of(MX + route + route) == [
        'mail.route[1].match: "*.ch" is already routed, keep one of them'
    ]


@pytest.mark.parametrize("match", ["", "41*", "+4a*", "+41**", "+"])
def test_an_sms_route_matches_the_start_of_a_number(faults_of: Faults, match: str) -> None:
    assert "sms.route[0].match: must be" in faults_of(f"[[sms.route]]\nmatch = '{match}'\nupstream = 'op'")[0]


def test_the_name_of_an_implicit_sandbox_stays_with_its_channel(faults_of: Faults) -> None:
    faults = faults_of("[upstream.sandbox_mail]\ntype = 'sandbox-sms'")
    assert faults == ["upstream.sandbox_mail: the name is kept for mail, take another name"]


def test_r28_plain_http_beyond_loopback_is_refused(faults_of: Faults) -> None:
    """R28: HTTPS only, plain HTTP only on loopback."""
    for host in ("0.0.0.0", "192.0.2.1", "::", "gateway.example.org"):
        (fault,) = faults_of(f"[http]\nhost = '{host}'")
        assert fault == (
            f'http.tls: plain HTTP on "{host}" is reachable from other machines, '
            "set tls = true, or behind_proxy = true when a proxy ends TLS"
        )


@pytest.mark.parametrize(
    "text",
    [
        "[http]\nhost = '0.0.0.0'\ntls = true",
        "[http]\nhost = '0.0.0.0'\nbehind_proxy = true",
        "[http]\nhost = '0.0.0.0'\nenabled = false",
        "[http]\nhost = '::1'",
        "[http]\nhost = '127.1.2.3'",
        "[http]\nhost = 'localhost'",
    ],
)
def test_r28_http_with_tls_or_a_proxy_or_on_loopback_is_taken(load_text: Loader, text: str) -> None:
    """R28: HTTPS only, plain HTTP only on loopback."""
    assert load_text(text).http.public_url == ""


@pytest.mark.parametrize("door", ["smtp", "smpp"])
def test_proxy_headers_come_from_somebody(faults_of: Faults, load_text: Loader, door: str) -> None:
    (fault,) = faults_of(f"[{door}]\nproxy_protocol = true")
    assert fault.startswith(f"http.trusted_proxies: empty, with {door}.proxy_protocol = true")
    text = f"[{door}]\nproxy_protocol = true\n[http]\ntrusted_proxies = ['10.0.0.0/8', '2001:db8::1/128']"
    assert load_text(text).http.trusted_proxies == ("10.0.0.0/8", "2001:db8::1/128")


def test_two_listeners_on_one_port_are_refused(faults_of: Faults) -> None:
    assert faults_of("[http]\nport = 2525\n[smpp]\ntls_port = 4465") == [
        "http.port: 2525 is also smtp.port, give each listener a port of its own",
        "smpp.tls_port: 4465 is also smtp.tls_port, give each listener a port of its own",
    ]


def test_free_ports_and_disabled_listeners_never_collide(load_text: Loader) -> None:
    load_text("[smtp]\nport = 0\ntls_port = 0\n[http]\nport = 0\n[smpp]\nenabled = false\nport = 9464")


@pytest.mark.parametrize(
    ("text", "key_path"),
    [
        ("[smtp]\nin_flight_octets = 1000", "smtp.in_flight_octets"),
        ("[limits]\nqueue_memory_octets = 1000", "limits.queue_memory_octets"),
        ("[smtp]\nmax_connections = 5", "smtp.max_connections_per_peer"),
        ("[limits]\nauth_delay_first_s = 100", "limits.auth_delay_first_s"),
        ("[mail.retry]\nfirst_s = 20000", "mail.retry.first_s"),
        ("[sms.retry]\nfirst_s = 20000", "sms.retry.first_s"),
        ("[webhooks]\nretry_first_s = 20000", "webhooks.retry_first_s"),
        ("[sms]\nreceipt_timeout_s = 60", "sms.receipt_timeout_s"),
        ("[retention]\nmessage_days = 4", "retention.message_days"),
        ("[retention]\nevent_days = 4", "retention.event_days"),
        ("[retention]\ncontent_hours = 3000", "retention.content_hours"),
        ("[credits]\nrecharge_daily_cap = 1999", "credits.recharge_daily_cap"),
        ("[credits]\nquote_above = 1999", "credits.recharge_amount"),
        ("[credits]\nrecharge_backoff_first_s = 90000", "credits.recharge_backoff_first_s"),
        (RELAY + "username = 'gw'", "upstream.smarthost.password"),
        (RELAY + "password = 'abc'", "upstream.smarthost.username"),
        (RELAY + "username = 'gw'\npassword = 'abc'\ntls = 'none'", "upstream.smarthost.tls"),
        (RELAY + "username = 'gw'\npassword = 'abc'\ntls = 'opportunistic'", "upstream.smarthost.tls"),
        (RELAY + "ca_file = 'nowhere.pem'", "upstream.smarthost.ca_file"),
        ("[sender_name]\ncountries_file = '.'", "sender_name.countries_file"),
        (SMPP + "bind = 'tx'", "upstream.op.bind"),
        (SMPP + "reconnect_min_s = 100", "upstream.op.reconnect_min_s"),
        (SMPP + "long_text = 'payload'\nreference_octets = 2", "upstream.op.reference_octets"),
    ],
)
def test_a_contradiction_is_named_at_its_key(faults_of: Faults, text: str, key_path: str) -> None:
    (fault,) = faults_of(text)
    assert fault.startswith(f"{key_path}: ")


def test_a_relay_on_loopback_may_have_a_password_without_tls(load_text: Loader) -> None:
    text = RELAY.replace("smtp.example.org", "127.0.0.1")
    load_text(text + "username = 'gw'\npassword = 'abc'\ntls = 'none'")


def test_a_transmitter_without_receipts_is_taken(load_text: Loader) -> None:
    load_text(SMPP + "bind = 'tx'\nreceipts = false")


def test_contradictions_are_found_beside_faults_in_other_sections(faults_of: Faults) -> None:
    faults = faults_of("[log]\nlevel = 'loud'\n[http]\nhost = '0.0.0.0'")
    assert [fault.partition(":")[0] for fault in faults] == ["log.level", "http.tls"]


@pytest.mark.parametrize("silent_s", ["0", "3", "10"])
def test_a_silence_that_tells_something(load_text: Loader, silent_s: str) -> None:
    assert load_text(f"[server]\nworker_silent_s = {silent_s}").server.worker_silent_s == float(silent_s)


def test_a_silence_shorter_than_the_time_between_two_signs_of_life_is_refused(faults_of: Faults) -> None:
    assert faults_of("[server]\nworker_silent_s = 1") == [
        "server.worker_silent_s: must be 0 (never) or at least 3, leave it at 10"
    ]
