"""What counts as one peer, and whose word about a client is believed."""

import pytest

from gateway.peers import Networks, forwarded_peer, peer_prefix

PROXIES = Networks(["10.0.0.0/8", "2001:db8:f::/48"])


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", "unknown"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_a_peer_is_an_ipv4_address_or_an_ipv6_site(address: str, prefix: str) -> None:
    assert peer_prefix(address) == prefix


def test_networks_know_their_addresses() -> None:
    for inside in ("10.1.2.3", "2001:db8:f::1", "::ffff:10.0.0.1"):
        assert inside in PROXIES
    for outside in ("11.0.0.1", "2001:db8:e::1", "unknown", ""):
        assert outside not in PROXIES
    assert "10.0.0.1" not in Networks()
    assert not Networks()


@pytest.mark.parametrize(
    ("address", "forwarded", "peer"),
    [
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),  # no proxy: its word counts for nothing
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7,10.0.0.3,10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "198.51.100.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("10.0.0.1", "2001:DB8::1", "2001:db8::1"),
        ("2001:db8:f::1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7" + ", 10.0.0.2" * 1000, "10.0.0.2"),  # bounded: the rest is not read
    ],
)
def test_the_first_from_the_right_that_is_no_proxy_is_the_peer(
    address: str, forwarded: str, peer: str
) -> None:
    assert forwarded_peer(address, forwarded, PROXIES) == peer
