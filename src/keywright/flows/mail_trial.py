"""A mail on trial: whether mails leave at all, before a customer waits for one."""

from __future__ import annotations

import html

from keywright.domain.errors import Conflict, MailDelayed, MailRefused
from keywright.flows import announce
from keywright.flows.context import Context
from keywright.ports import Mail
from keywright.store import audit


def send(context: Context, tenant: str, to: str, by: str) -> None:
    """Hand a mail over now, without the queue, so that trouble is told at once.

    Args:
        to: the address of whoever asks: nobody else is written to.
        by: who, for the audit.

    Raises:
        Conflict: the mail was not taken; the detail says what the mail server said, in codes.
    """
    server = context.policy.base_url
    text = (
        f"This is a test of the mails of {context.tenant.name}.\n\n"
        f"It was asked for in the console at {server}, and it has arrived: mails leave this server.\n"
        "Customers will see the same sender.\n"
    )
    paragraphs = "".join(f"<p>{html.escape(part)}</p>" for part in text.strip().split("\n\n"))
    mail = Mail(
        to=to,
        subject=f"A test of the mails of {context.tenant.name}"[:150],
        text=text,
        html=f'<!doctype html><html lang="en"><body>{paragraphs}</body></html>',
        message_id=announce.message_id(context, context.new_id("try")),
    )
    problem = None
    try:
        context.mailer.send(mail)
    except (MailRefused, MailDelayed) as error:
        problem = error.detail
    with context.database.write() as connection:
        told = {"outcome": "sent" if problem is None else "not taken"}
        audit.append(
            connection, tenant, by, "mail.tried", by.removeprefix("staff "), told, context.clock.now()
        )
    if problem is not None:
        raise Conflict(f"The mail did not leave: {problem}.")
