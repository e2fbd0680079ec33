"""What the demo prints when it is ready: ports, credentials, and commands to copy."""

import shlex
from pathlib import Path

from config import Settings
from gateway.cli.demo import envfile
from gateway.cli.demo.account import Furnished
from gateway.listeners import Ports

_TEMPLATE = """
The gateway is ready; everything it sends is {fate}. Ctrl-C stops it.

  API      {url}/v1     documentation: {url}/docs
  SMTP     {smtp_host}:{smtp_port} with STARTTLS, {smtp_host}:{smtps_port} with TLS from the start
           user {smtp_user}, password {smtp_password}
  SMPP     {smpp_host}:{smpp_port}
           system_id {smpp_system_id}, password {smpp_password}
  metrics  {metrics_url}
  key      {api_key}
  sender   anything@{domain} for mail, {sender_name} for SMS
  The same as KEY=value lines: {env_path}

Try it:

  # a mail over HTTP
  curl -sS {insecure}{url}/v1/mail \\
    -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json' \\
    -d '{{"from": "hello@{domain}", "to": "you@example.org", "subject": "Hello", "text": "Over HTTP."}}'

  # an SMS over HTTP
  curl -sS {insecure}{url}/v1/sms \\
    -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json' \\
    -d '{{"from": "{sender_name}", "to": "+41791234567", "text": "Hello by SMS"}}'

  # a mail over SMTP, with swaks
  swaks --server {smtp_host} --port {smtp_port} {swaks_tls}--auth PLAIN \\
    --auth-user {smtp_user} --auth-password {smtp_password} \\
    --from hello@{domain} --to you@example.org --header 'Subject: Hello' --body 'Over SMTP.'

  # a mail over SMTP, with Python alone
  python3 -c {python}

  # what became of them, and what is left of the credits
  curl -sS {insecure}{url}/v1/messages -H 'Authorization: Bearer {api_key}'
  curl -sS {insecure}{url}/v1/credits -H 'Authorization: Bearer {api_key}'
  curl -sS {metrics_url}
"""
_PYTHON = (  # in double quotes, so that the shell's single quotes go around it
    'import smtplib, ssl; s = smtplib.SMTP("{smtp_host}", {smtp_port}); '
    's.starttls(context=ssl.create_default_context(cafile="{certificate}")); '
    's.login("{smtp_user}", "{smtp_password}"); '
    's.sendmail("hello@{domain}", ["you@example.org"], '
    '"From: hello@{domain}\\r\\nTo: you@example.org\\r\\nSubject: Hello\\r\\n\\r\\nOver SMTP."); s.quit()'
)


def text(settings: Settings, ports: Ports, demo: Furnished, env_path: Path) -> str:
    """The whole text; secrets are in it, as they are in demo.env."""
    lines = envfile.values(settings, ports, demo)
    certificate = settings.tls.certificate
    words = {
        "fate": "kept on this machine (sandbox)" if settings.sandbox else "sent for real",
        "url": lines["GATEWAY_URL"],
        "api_key": demo.secrets.api_key,
        "smtp_host": lines["SMTP_HOST"],
        "smtp_port": lines["SMTP_PORT"],
        "smtps_port": lines["SMTPS_PORT"],
        "smtp_user": demo.secrets.smtp_user,
        "smtp_password": demo.secrets.smtp_password,
        "smpp_host": lines["SMPP_HOST"],
        "smpp_port": lines["SMPP_PORT"],
        "smpp_system_id": demo.secrets.smpp_system_id,
        "smpp_password": demo.secrets.smpp_password,
        "metrics_url": lines["METRICS_URL"],
        "domain": demo.domain,
        "sender_name": demo.sender_name,
        "env_path": str(env_path),
        "certificate": str(certificate),
        "insecure": f"--cacert {shlex.quote(str(certificate))} " if settings.http.tls else "",
        "swaks_tls": "" if settings.smtp.plain_auth_on_loopback else "--tls ",
    }
    return _TEMPLATE.format(**words, python=shlex.quote(_PYTHON.format(**words)))
