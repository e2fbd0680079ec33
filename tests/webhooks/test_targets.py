"""Where a webhook may point: everything that is not plainly public is refused, in every spelling."""

import ipaddress

import pytest

from gateway.webhooks.targets import TargetError, check_addresses, check_url, is_public

BAD_URLS = [
    # loopback and this host, in the spellings that some resolver takes
    *(
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
    ),
    *(
        "https://0177.0.0.1/",
        "https://017700000001/",
        "https://127.0.0.1./",
        "https://0/",
        "https://0.0.0.0/",
    ),
    *("https://localhost/", "https://LOCALHOST./", "https://a.localhost/", "https://[::1]/", "https://[::]/"),
    *("https://①②⑦.0.0.1/", "https://127。0。0。1/", "https://1.2.3.4.5/"),
    # wrapped into IPv6
    *("https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::127.0.0.1]/"),
    *("https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/", "https://[2001:0:7f00:1::]/"),
    # private, shared, link-local, metadata, multicast, reserved
    *("https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.1.1/", "https://100.64.0.1/"),
    *("https://169.254.169.254/latest/meta-data", "https://[fd00:ec2::254]/", "https://100.100.100.200/"),
    *("https://168.63.129.16/", "https://192.0.0.192/", "https://metadata.google.internal/"),
    *("https://224.0.0.1/", "https://[ff02::1]/", "https://[fe80::1]/", "https://[fe80::1%25eth0]/"),
    *("https://240.0.0.1/", "https://255.255.255.255/", "https://198.18.0.1/", "https://192.0.2.1/"),
    # tricks of spelling
    *("https://user:password@example.com/", "https://example.com@127.0.0.1/", "https://@example.com/"),
    *("https://example.com\\@127.0.0.1/", "https://exa mple.com/", "https://example.com/\r\nX: y"),
    *(
        "https://example.com/\x00",
        "https://exa%6dple.com/",
        "https://example.com/#f",
        "https://example.com/#",
    ),
    *(
        "https://-a.example.com/",
        "https://a..example.com/",
        "https://example.com:0/",
        "https://example.com:x/",
    ),
    *("https://example.com:99999/", "https://[::1/", "https:///path", "https:example.com", "//example.com/"),
    *("http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", ""),
    *("https://intranet/", "https://printer.local/", f"https://example.com/{'x' * 2000}", "https://exämple/"),
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_bad_url_is_refused(url: str) -> None:
    with pytest.raises(TargetError):
        check_url(url, allow_private=False)


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "header"),
    [
        ("https://hooks.example.com", "hooks.example.com", 443, "/", "hooks.example.com"),
        (
            "HTTPS://Hooks.Example.COM:8443/a?b=c",
            "hooks.example.com",
            8443,
            "/a?b=c",
            "hooks.example.com:8443",
        ),
        (
            "https://example.com:22/",
            "example.com",
            22,
            "/",
            "example.com:22",
        ),  # odd ports are the client's choice
        ("https://bücher.example/", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example"),
        ("https://8.8.8.8/x", "8.8.8.8", 443, "/x", "8.8.8.8"),
        ("https://[2606:4700::1111]:444/", "2606:4700::1111", 444, "/", "[2606:4700::1111]:444"),
        ("https://example.com/%20?q=%23", "example.com", 443, "/%20?q=%23", "example.com"),
    ],
)
def test_a_good_url_is_taken_apart(url: str, host: str, port: int, path: str, header: str) -> None:
    target = check_url(url, allow_private=False)
    assert (target.host, target.port, target.path, target.host_header) == (host, port, path, header)
    assert target.pinned("192.0.2.7") == f"https://192.0.2.7:{port}{path}"
    assert target.pinned("2001:db8::7") == f"https://[2001:db8::7]:{port}{path}"


def test_private_targets_are_the_operators_choice() -> None:
    for url in ("http://127.0.0.1:9000/hook", "http://localhost:9000/", "https://10.0.0.1/", "http://hooks/"):
        check_url(url, allow_private=True)
    for url in ("ftp://127.0.0.1/", "http://user@127.0.0.1/", "http://2130706433/"):
        with pytest.raises(TargetError):
            check_url(url, allow_private=True)


@pytest.mark.parametrize(
    "addresses", [[], ["10.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:10.0.0.1"], ["no address"]]
)
def test_every_address_must_be_public(addresses: list[str]) -> None:
    with pytest.raises(TargetError):
        check_addresses(addresses, allow_private=False)


def test_public_addresses_pass() -> None:
    check_addresses(["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"], allow_private=False)
    assert not is_public(ipaddress.ip_address("fec0::1"))
