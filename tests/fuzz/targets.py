"""Every target by its name: a function of octets that raises when a promise is broken."""

from collections.abc import Callable, Mapping

from tests.fuzz import http, mail, mime, settings, sms

Target = Callable[[bytes], None]

TARGETS: Mapping[str, Target] = {
    target.__name__: target
    for target in (
        mail.smtp_submission,
        mail.smtp_delivery,
        mime.mime_headers,
        mime.header_values,
        mime.addresses,
        mime.dkim_canonical,
        mime.dkim_messages,
        mime.dns_texts,
        sms.smpp_pdus,
        sms.smpp_esme,
        sms.smpp_smsc,
        sms.sms_texts,
        sms.sms_parts,
        sms.receipts,
        http.api_bodies,
        http.api_queries,
        http.http_wire,
        settings.toml,
        settings.webhook_urls,
        settings.webhook_addresses,
        settings.phone_numbers,
        settings.keys,
    )
}
