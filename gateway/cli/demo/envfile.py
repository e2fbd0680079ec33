"""`demo.env`: how to reach the demo, as `KEY=value` lines for shells; read back at the next start."""

import ipaddress
from pathlib import Path

from config import Settings
from gateway.cli.demo.account import Furnished, Secrets
from gateway.files import write_private
from gateway.listeners import Ports


def values(settings: Settings, ports: Ports, demo: Furnished) -> dict[str, str]:
    """The lines in their order; a door that is closed has port 0."""
    smtp, http, smpp, metrics = settings.smtp, settings.http, settings.smpp, settings.metrics
    secrets = demo.secrets
    scheme = "https" if http.tls else "http"
    return {
        "GATEWAY_URL": f"{scheme}://{in_url(reachable(http.host))}:{ports['http']}",
        "GATEWAY_API_KEY": secrets.api_key,
        "SMTP_HOST": reachable(smtp.host),
        "SMTP_PORT": str(ports["smtp"]),
        "SMTP_USER": secrets.smtp_user,
        "SMTP_PASSWORD": secrets.smtp_password,
        "SMPP_HOST": reachable(smpp.host),
        "SMPP_PORT": str(ports["smpp"]),
        "SMPP_SYSTEM_ID": secrets.smpp_system_id,
        "SMPP_PASSWORD": secrets.smpp_password,
        "METRICS_URL": f"http://{in_url(reachable(metrics.host))}:{ports['metrics']}/metrics",
        "SMTPS_PORT": str(ports["smtps"]),
        "DEMO_SENDER_DOMAIN": demo.domain,
        "DEMO_SENDERNAME": demo.sender_name,
    }


def write(path: Path, lines: dict[str, str]) -> None:
    """Writes the file in one step, readable by its owner only."""
    write_private(path, "".join(f"{key}={value}\n" for key, value in lines.items()).encode())


def read(path: Path) -> Secrets:
    """The secrets of an earlier start, as far as the file has them."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return Secrets()
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return Secrets(
        api_key=found.get("GATEWAY_API_KEY", ""),
        smtp_user=found.get("SMTP_USER", ""),
        smtp_password=found.get("SMTP_PASSWORD", ""),
        smpp_system_id=found.get("SMPP_SYSTEM_ID", ""),
        smpp_password=found.get("SMPP_PASSWORD", ""),
    )


def reachable(host: str) -> str:
    """The address to connect to from this machine, for one that is listened on."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on


def in_url(host: str) -> str:
    """The host as it stands in a URL: IPv6 in brackets (RFC 3986 section 3.2.2)."""
    try:
        is_v6 = ipaddress.ip_address(host).version == 6
    except ValueError:
        is_v6 = False
    return f"[{host}]" if is_v6 else host
