"""The load and the sink that speak STARTTLS, joined without a gateway in between."""

import contextlib
import shutil
import smtplib
import ssl
from pathlib import Path

import pytest

from bench.loads import OwnMailLoad, Work
from bench.servers import Target
from bench.sinks import tls_mail_sink

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")


@pytest.mark.parametrize("reuse", [False, True])
def test_every_mail_that_the_load_sends_over_starttls_is_counted(tmp_path: Path, reuse: bool) -> None:
    sink = tls_mail_sink(tmp_path)
    try:
        target = Target(smtp_port=sink.port, tls=True)
        accepted = OwnMailLoad(reuse=reuse)(target, Work(messages=40, folder=tmp_path))
        sink.wait_until_quiet(40)
        assert (accepted.messages, sink.count) == (40, 40)
    finally:
        sink.stop()


def test_the_sink_takes_an_independent_client_and_quit_together_with_the_dot(tmp_path: Path) -> None:
    sink = tls_mail_sink(tmp_path)
    context = ssl.create_default_context(cafile=tmp_path / "sink-tls" / "localhost.pem")
    try:
        client = smtplib.SMTP("localhost", sink.port, timeout=10)
        with contextlib.closing(client):
            client.starttls(context=context)
            client.sendmail("a@bench.example", ["b@example.net"], "Subject: x\r\n\r\n.dot\r\n")
            client.sendmail("a@bench.example", ["b@example.net"], "Subject: y\r\n\r\n")
            client.docmd("MAIL FROM:<a@bench.example>")
            client.docmd("RCPT TO:<b@example.net>")
            client.docmd("DATA")
            client.send("Subject: z\r\n\r\nlast\r\n.\r\nQUIT\r\n")
            assert [client.getreply()[0] for _ in range(2)] == [250, 221]
        sink.wait_until_quiet(3)
        assert sink.count == 3
    finally:
        sink.stop()
