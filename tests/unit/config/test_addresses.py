"""`host:port`: what is read, what is refused, and that equal places are equal."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.addresses import AddressPort, describe_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8081", "127.0.0.1", 8081),
        ("worker.local:8080", "worker.local", 8080),
        ("my_worker-1:1", "my_worker-1", 1),
        ("Worker.Local.:65535", "worker.local.", 65535),
        ("[::1]:8080", "::1", 8080),
        ("[2001:DB8:0::1]:80", "2001:db8::1", 80),
        ("[::ffff:10.0.0.1]:80", "::ffff:a00:1", 80),
        ("10a.b2:80", "10a.b2", 80),
    ],
)
def test_reads(text: str, host: str, port: int) -> None:
    assert AddressPort.parse(text) == AddressPort(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "worker",
        ":8080",
        "worker:",
        "worker:0",
        "worker:65536",
        "worker:123456",
        "worker:-1",
        "worker:+1",
        "worker:http",
        "worker: 80",
        " worker:80",
        "worker:80\n",
        "worker:८०",
        "http://worker:80",
        "user@worker:80",
        "::1:8080",
        "[::1]",
        "[::1]8080",
        "[]:8080",
        "[::g]:8080",
        "[127.0.0.1]:8080",
        "[fe80::1%eth0]:8080",
        "10.0.0.256:80",
        "127.1:80",
        "1:80",
        "127.0.0.01:80",
        "-a:80",
        "a-:80",
        "a..b:80",
        ".a:80",
        "bücher.example:80",
        f"{'a' * 64}:80",
        f"{'a.' * 127}a:80",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="no host:port"):
        AddressPort.parse(text)


def test_admits_port_0_where_a_listener_wants_any() -> None:
    assert AddressPort.parse("localhost:0", lowest_port=0) == AddressPort("localhost", 0)
    assert "a port from 0 to 65535" in describe_address(0)
    assert "a port from 1 to 65535" in describe_address()


@given(
    st.ip_addresses() | st.from_regex(r"[a-z][a-z0-9]{0,9}(\.[a-z]{1,9}){0,3}", fullmatch=True),
    st.integers(1, 65535),
)
def test_what_is_written_is_read_again(host: IPv4Address | IPv6Address | str, port: int) -> None:
    address = AddressPort(str(host), port)
    assert AddressPort.parse(str(address)) == address
    assert address.is_ip is not isinstance(host, str)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        address = AddressPort.parse(text)
    except ValueError:
        return
    assert AddressPort.parse(str(address)) == address
