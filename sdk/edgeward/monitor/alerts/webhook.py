"""POST to a URL, signed.

`X-Edgeward-Signature: t=UNIX-SECONDS,v1=HEX` is HMAC-SHA-256 of `UNIX-SECONDS.BODY` with the secret, as Stripe and
others sign: a receiver refuses what is not signed, or signed long ago, and drops ids (`X-Edgeward-Id`) that it has had.
"""

import hashlib
import hmac
import ssl
import time

import httpx

from edgeward.monitor.alerts import wording
from edgeward.monitor.alerts.channels import RefusedError, Webhook, secret
from edgeward.monitor.alerts.outbox import Word
from edgeward_runtimes.errors import ConfigError, MonitorError, one_line

_WITHIN_S = 10.0
_WORTH_TRYING_AGAIN = frozenset({408, 425, 429})


def deliver(webhook: Webhook, word: Word) -> None:
    """Send once.

    Raises:
        RefusedError: For an answer 4xx that says that the request is wrong.
        EdgewardError: For anything else that may pass.
    """
    body = wording.document(word)
    headers = {"Content-Type": "application/json", "X-Edgeward-Id": word.id}
    if webhook.secret_file is not None:
        headers["X-Edgeward-Signature"] = signature(secret(webhook.secret_file), body, int(time.time()))
    try:
        answer = httpx.post(webhook.url, content=body, headers=headers, timeout=_WITHIN_S, verify=_context(webhook))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise MonitorError(one_line(error) or type(error).__name__) from error
    if not answer.is_success:
        kind = (
            RefusedError if answer.is_client_error and answer.status_code not in _WORTH_TRYING_AGAIN else MonitorError
        )
        raise kind(f"the receiver answered {answer.status_code}")


def signature(key: str, body: bytes, at: int) -> str:
    """The header's value for a body at a time in Unix seconds."""
    digest = hmac.new(key.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _context(webhook: Webhook) -> ssl.SSLContext | bool:
    if webhook.ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=webhook.ca)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"ca: {webhook.ca} cannot be used: {error}.") from error
