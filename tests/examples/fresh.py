"""What a server signs with keys of its own: tokens and leases, where they count and where they must not."""

from __future__ import annotations

import json

from keywright.domain.license_file import wrap
from keywright.domain.plan import Terms
from keywright.flows import activating, license_files, licensing, operate
from keywright.flows.context import Context
from keywright.flows.license_files import FileMade
from tests.examples import cases
from tests.examples.cases import Case
from tests.life import world

TERMS = Terms(entitlements=("export.pdf",), limits={"projects": 100})


def signed_by(context: Context) -> list[Case]:
    """A license token, one for a machine, a lease, and each of them where it must not count."""
    world.stock(context, price_pro=TERMS)
    _, key = operate.issue(
        context, context.master.id, operate.Order("dashcaddy/plan-0", "ann@example.com"), operate.Act("tests")
    )
    ask = licensing.Ask(key, cases.MACHINE, product="dashcaddy", nonce="n-1")
    asked = licensing.check(context, ask, fingerprint_needed=True)
    (verdict,) = activating.activate_many(context, [asked])
    assert isinstance(verdict, licensing.Verdict)
    assert verdict.lease is not None
    now = int(context.clock.now().timestamp())
    iss, keys = context.issuer(context.master.id), json.dumps(context.signer.key_set(context.master.id))
    claims = {**cases.CLAIMS, "iss": iss, "iat": now, "nbf": now, "exp": now + 86_400}
    token = context.signer.sign(context.master.id, "lic+jwt", claims)
    made = license_files.make(context, asked)
    assert isinstance(made, FileMade)
    assert made.file == wrap(made.token)
    for_machine = made.token
    rules = {"iss": iss, "aud": cases.AUD, "typ": "lic+jwt", "now": now}
    here = {**rules, "fingerprint": cases.MACHINE}
    there = {**rules, "fingerprint": "machine-0002"}
    leased = {**here, "typ": "lease+jwt"}
    return [
        Case("license", token, rules, keys, True),
        Case("license of the machine", for_machine, here, keys, True),
        Case("lease", verdict.lease, leased, keys, True),
        Case("lease that answers", verdict.lease, {**leased, "nonce": "n-1"}, keys, True),
        Case("license of another machine", for_machine, there, keys, False),
        Case("license, machine unknown", for_machine, rules, keys, False),
        Case("license as a lease", for_machine, leased, keys, False),
        Case("lease as a license", verdict.lease, here, keys, False),
        Case("lease of another machine", verdict.lease, {**there, "typ": "lease+jwt"}, keys, False),
        Case("lease of another call", verdict.lease, {**leased, "nonce": "n-2"}, keys, False),
        Case("lease when it is over", verdict.lease, {**leased, "now": now + 400 * 86_400}, keys, False),
        Case("license when it is over", token, {**rules, "now": now + 86_460}, keys, False),
        Case("license of another seller", token, {**rules, "iss": f"{iss}x"}, keys, False),
        Case("license, keys of another", token, rules, cases.KEY_SET, False),
    ]
