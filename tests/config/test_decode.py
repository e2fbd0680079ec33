"""A configuration with wrong keys or values is answered with every fault, where it is and what to do."""

from pathlib import Path

import pytest

from config import ConfigError, Fault, Settings, from_mapping
from config.sections.upstreams import SmppUpstream
from tests.config.conftest import Faults, Loader

OPERATOR = """
[upstream.operator_a]
type = "smpp"
host = "smpp.example.org"
system_id = "gateway"
password_env = "OPERATOR_PASSWORD"
"""


def test_an_empty_file_is_the_sandbox_with_all_defaults(load_text: Loader) -> None:
    settings = load_text("")
    assert settings.sandbox
    assert settings.smtp == Settings().smtp
    assert settings.credits.free_mail_credits == 500  # R11
    assert (settings.credits.recharge_threshold, settings.credits.recharge_amount) == (100, 2000)  # R13
    assert settings.sender_name.max_length == 10  # R22


def test_an_unknown_key_suggests_the_nearest_known_one(faults_of: Faults) -> None:
    assert faults_of(OPERATOR + "windo = 3") == [
        "upstream.operator_a.windo: unknown key, did you mean window?"
    ]


def test_an_unknown_section_suggests_the_nearest_known_one(faults_of: Faults) -> None:
    assert faults_of("[stmp]\nport = 1") == ["stmp: unknown key, did you mean smtp?"]


def test_an_unknown_key_like_no_other_gets_no_suggestion(faults_of: Faults) -> None:
    assert faults_of("[smtp]\nxyzzy = 1") == ["smtp.xyzzy: unknown key"]


def test_an_unknown_secret_form_suggests_the_right_one(faults_of: Faults) -> None:
    assert faults_of(OPERATOR + 'password_fil = "x"')[0].endswith("did you mean password_file?")


def test_all_faults_of_a_file_come_at_once(faults_of: Faults) -> None:
    faults = faults_of(
        """
        [smtp]
        port = "2525"
        line_ends = "refus"
        [http]
        host = "0.0.0.0"
        [store]
        batch_max = 0
        [retention]
        message_days = 4
        [upstream.operator_a]
        type = "smpp"
        windo = 3
        """
    )
    assert [fault.partition(":")[0] for fault in faults] == [
        "store.batch_max",
        "smtp.port",
        "smtp.line_ends",
        "upstream.operator_a.windo",
        "upstream.operator_a.host",
        "upstream.operator_a.system_id",
        "upstream.operator_a.password",
        "retention.message_days",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[smtp]\nport = '2525'", 'smtp.port: must be a whole number, not "2525", write 2525 without quotes'),
        ("[smtp]\nport = 25.0", "smtp.port: must be a whole number, not 25.0, write 25"),
        ("[smtp]\nport = 70000", "smtp.port: must be from 0 to 65535, not 70000"),
        ("[smtp]\nport = true", "smtp.port: must be a whole number, not true"),
        ("[smtp]\nenabled = 1", "smtp.enabled: must be true or false, not 1"),
        (
            "[smtp]\nenabled = 'yes'",
            'smtp.enabled: must be true or false, not "yes", write true without quotes',
        ),
        ("[smtp]\nhost = 1", 'smtp.host: must be a text, not 1, write "1"'),
        ("[smtp]\nhost = 'a b'", 'smtp.host: must be a host name or an IP address, not "a b"'),
        ("[smtp]\nhost = \"a\\u0000b\"", "smtp.host: must not contain a NUL"),
        ("smtp = 3", "smtp: must be a table, not 3, write [smtp]"),
        ("[[smtp]]\nport = 1", "smtp: must be a table, not a list, write [smtp]"),
        ("[server]\ndrain_s = nan", "server.drain_s: must be a finite number, not nan"),
        ("[server]\ndrain_s = -1", "server.drain_s: must be 0.001 or more, not -1.0"),
        ("[server]\ndrain_s = '30s'", 'server.drain_s: must be a number, not "30s"'),
        ("[server]\ndata_dir = ''", "server.data_dir: must not be empty"),
        ("[mail]\negress_ips = '::1'", 'mail.egress_ips: must be a list, not "::1", write ["::1"]'),
        ("[mail]\negress_ips = ['192.0.2.1', '192.0.2.256']",
         'mail.egress_ips[1]: must be an IP address, not "192.0.2.256"'),
        ("[mail.route]\nmatch = '*'", "mail.route: must be a list, not a table, write [[mail.route]]"),
        ("[[mail.route]]\nmatch = '*'", "mail.route[0].upstream: missing, it needs a text"),
        ("[mail.retry]\njitter = 2", "mail.retry.jitter: must be from 0 to 1, not 2.0"),
        ("[sms]\ndefault_country = 'ch'",
         'sms.default_country: must be two capital letters (ISO 3166-1) such as CH, or empty, not "ch"'),
        ("[credits]\nfree_mail_credits = -1", "credits.free_mail_credits: must be 0 or more, not -1"),
        ("[sender_name]\nmax_length = 12", "sender_name.max_length: must be from 1 to 11, not 12"),
        ("[log]\nformat = 'jsno'", 'log.format: "jsno" is not one of "json", "console", did you mean json?'),
        ("[store]\nurl = 'mysql://x'",
         'store.url: must be "sqlite:PATH" or "postgresql://USER@HOST/DATABASE", not "mysql://x"'),
        ("upstream = 1", "upstream: must hold tables, not 1, write [upstream.NAME]"),
        ("[upstream]\na = 1", "upstream.a: must be a table, not 1, write [upstream.NAME]"),
        ("[upstream.a]\nhost = 'x'",
         'upstream.a.type: missing, it needs one of "sandbox-mail", "relay", "mx", "sandbox-sms", "smpp"'),
        ("[upstream.'operator a']\ntype = 'mx'",
         'upstream."operator a": is not a usable name, take up to 32 of a-z, 0-9 and _, a letter first'),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_key_and_what_is_right(
    faults_of: Faults, text: str, fault: str
) -> None:
    assert faults_of(text) == [fault]


def test_an_unknown_type_of_upstream_is_answered_with_all_types(faults_of: Faults) -> None:
    (fault,) = faults_of("[upstream.a]\ntype = 'rellay'")
    assert fault == (
        'upstream.a.type: "rellay" is not one of "sandbox-mail", "relay", "mx", "sandbox-sms", "smpp", '
        "did you mean relay?"
    )


def test_a_long_wrong_value_is_cut_in_the_message(faults_of: Faults) -> None:
    assert len(faults_of(f"[smtp]\nhost = '{'a b' * 1000}'")[0]) < 150


def test_a_missing_required_key_says_what_it_needs(faults_of: Faults) -> None:
    assert faults_of("[upstream.a]\ntype = 'relay'") == [
        "upstream.a.host: missing, it needs a host name or an IP address"
    ]


def test_a_whole_number_is_taken_where_a_number_is_wanted(load_text: Loader) -> None:
    drain_s = load_text("[server]\ndrain_s = 12").server.drain_s
    assert (drain_s, type(drain_s)) == (12.0, float)


def test_choices_among_numbers_are_told_apart_from_true(faults_of: Faults, load_text: Loader) -> None:
    upstream = load_text(OPERATOR + "reference_octets = 2").upstream["operator_a"]
    assert isinstance(upstream, SmppUpstream)
    assert upstream.reference_octets == 2
    assert faults_of(OPERATOR + "reference_octets = true") == [
        "upstream.operator_a.reference_octets: true is not one of 1, 2"
    ]


def test_a_table_keeps_its_section_defaults_for_the_keys_left_out(load_text: Loader) -> None:
    retry = load_text("[sms.retry]\njitter = 0").sms.retry
    assert (retry.first_s, retry.max_s, retry.jitter) == (5.0, 600.0, 0.0)


def test_relative_paths_written_or_default_start_at_the_folder_of_the_file() -> None:
    settings = from_mapping({"tls": {"key": "k.pem"}, "server": {"data_dir": "/srv"}}, folder=Path("/etc/gw"))
    assert settings.tls.key == Path("/etc/gw/k.pem")
    assert settings.tls.certificate == Path("/etc/gw/var/tls/localhost.pem")
    assert settings.server.data_dir == Path("/srv")
    assert settings.store.sqlite_path == Path("/etc/gw/var/gateway.db")


def test_an_error_lists_its_faults_under_the_name_of_the_file() -> None:
    fault = Fault(key_path="a.b", message="is wrong", suggestion="mend it")
    one = ConfigError([fault], source="gateway.toml")
    two = ConfigError([fault, fault], source="gateway.toml")
    assert str(one) == "gateway.toml: 1 fault\n  a.b: is wrong, mend it"
    assert str(two).startswith("gateway.toml: 2 faults\n")
