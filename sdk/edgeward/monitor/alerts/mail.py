"""Mail by SMTP, over TLS unless the file says otherwise.

The Message-ID is the notification's: most readers show repeats as one mail.
"""

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, parseaddr

from edgeward.monitor.alerts import wording
from edgeward.monitor.alerts.channels import Smtp, secret
from edgeward.monitor.alerts.outbox import Word
from edgeward_runtimes.errors import MonitorError, one_line

_WITHIN_S = 20.0
_PORTS = {"starttls": 587, "implicit": 465, "none": 25}


def deliver(smtp: Smtp, word: Word) -> None:
    """Send once. Raises EdgewardError."""
    message = compose(smtp, word)
    try:
        with _connect(smtp) as server:
            if smtp.tls == "starttls":
                server.starttls(context=_context(smtp))
            if smtp.user is not None and smtp.password_file is not None:
                server.login(smtp.user, secret(smtp.password_file))
            server.send_message(message)
    except (smtplib.SMTPException, OSError) as error:
        raise MonitorError(one_line(error) or type(error).__name__) from error


def compose(smtp: Smtp, word: Word) -> EmailMessage:
    """The mail; what devices call themselves stays text, whatever signs are in it."""
    message = EmailMessage()
    message["From"] = smtp.sender
    message["To"] = ", ".join(smtp.recipients)
    message["Subject"] = " ".join(wording.title(word).split())[:200]
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{word.id}@{parseaddr(smtp.sender)[1].partition('@')[2] or 'edgeward'}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers by machines
    message.set_content(wording.text(word))
    return message


def _connect(smtp: Smtp) -> smtplib.SMTP:
    port = smtp.port or _PORTS[smtp.tls]
    if smtp.tls == "implicit":
        return smtplib.SMTP_SSL(smtp.host, port, timeout=_WITHIN_S, context=_context(smtp))
    return smtplib.SMTP(smtp.host, port, timeout=_WITHIN_S)


def _context(smtp: Smtp) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=smtp.ca)
