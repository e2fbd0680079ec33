"""What fuzzing has found, each told as the promise that was broken; the inputs are in `corpus/`."""

from pathlib import Path

import pytest

from config import ConfigError, load
from smtp import dkim, dmarc
from smtp.address import AddressError, parse_address
from smtp.headers import HeaderError
from smtp.resolver import is_public
from tests.smtp.submission_support import running


async def test_replies_are_not_held_back_while_a_chunk_is_awaited() -> None:
    async with running() as server, server.logged_in() as wire:
        # RFC 2920 section 3.2: the client may wait for these before it sends the chunk.
        commands = b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nBDAT 3 LAST\r\n"
        assert await wire.codes(commands, 2) == [250, 250]
        assert (await wire.ask(b"abc"))[0] == 250


def test_half_a_character_is_no_address() -> None:
    with pytest.raises(AddressError, match="not valid Unicode"):
        parse_address("a\udcff@b.example")


def test_a_message_that_begins_with_a_fold_is_no_message_to_verify() -> None:
    with pytest.raises(HeaderError):
        dkim.verify(b" folded\r\nFrom: a@a.example\r\n\r\n", lambda _name: None)


@pytest.mark.parametrize("percent", ["9" * 5000, "0000000001000", "1000"])
def test_a_dmarc_percentage_has_three_digits_at_most(percent: str) -> None:
    found = dmarc.parse(f"v=DMARC1; p=reject; pct={percent}")
    assert found is not None
    assert found.percent == 100
    assert found.faults


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[smtp]\nport = " + "9" * 5000, "gateway.toml: holds a number of too many digits"),
        ("[smtp]\nport = 0x" + "f" * 5000, "smtp.port: is too large a number"),
        ("[mail.retry]\nfirst_s = " + "9" * 400, "mail.retry.first_s: is too large a number"),
        ("[log]\nlevel = 0x" + "f" * 5000, "log.level: a number of too many digits is not one of"),
        ('[server]\ndata_dir = "\\u0000"', "server.data_dir: must not contain a NUL"),
        ('[server]\ndata_dir = "~nobody-has-this-name/x"', "server.data_dir: begins with the home folder"),
        ('[smtp]\n"a\\u001b[2J\\nb" = 1', 'smtp."a\\x1b[2J\\nb": unknown key'),
    ],
    ids=["digits", "integer", "float", "choice", "nul", "home", "control"],
)
def test_what_no_gateway_toml_should_hold_is_a_fault_of_one_line(
    tmp_path: Path, text: str, fault: str
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, env={})
    (line,) = str(caught.value).splitlines()[1:]
    assert fault in line


@pytest.mark.parametrize(("name", "says"), [("\\u0000", "NUL"), ("~nobody-has-this-name/x", "home folder")])
def test_a_secret_file_that_cannot_be_named_is_a_fault(tmp_path: Path, name: str, says: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'[upstream.a]\ntype = "smpp"\nhost = "h.example"\nsystem_id = "x"\npassword_file = "{name}"\n'
    )
    with pytest.raises(ConfigError, match=says):
        load(path, env={})


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("::7f00:1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::101:101", True),  # what DNS64 makes of a public IPv4 address
        ("2002:7f00:1::", False),
        ("64:ff9b:1::101:101", False),
        ("fec0::1", False),
        ("2606:4700::1111", True),
    ],
)
def test_mail_goes_to_no_private_address_however_it_is_wrapped(address: str, public: bool) -> None:
    assert is_public(address) is public
