"""What a seller ships inside his product: may it run here, with what, and until when, with and without a
network.

This package stands alone: the standard library and `cryptography`, Python 3.9 or newer, nothing else of
Keywright. Install it with the server's package or copy the folder into your program under a name of your own.

    from keywright.client import Client, Trust

    client = Client(
        server="https://licenses.acme.example",
        product="dashcaddy",
        trust=Trust("https://licenses.acme.example/t/<tenant id>", root="<public key of the offline root>"),
        baseline={"limits": {"projects": 3}},
    )
    result = client.check()
    if projects >= (result.limit("projects") or projects + 1):
        print(result.message)
"""

from .client import Client
from .machine import Machine, signal, this_machine
from .purchase import Purchase
from .result import Result
from .tokens import TokenRefused, verify
from .trust import Trust
from .watching import Watch

__all__ = [
    "Client",
    "Machine",
    "Purchase",
    "Result",
    "TokenRefused",
    "Trust",
    "Watch",
    "signal",
    "this_machine",
    "verify",
]
