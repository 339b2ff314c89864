"""Every route of the server: who looks after it, what it asks for, and whose data it may touch.

One line each: method and path | owner | credential | tenant. A route that is not in here fails the build,
and so does a line without its route. To add a route is to answer its three questions here.
What is the master tenant's here, or a checkout's, a key's or a session's, every other tenant has beneath
`/t/{slug}`, with his own in its place: `test_tenant_sites.py` compares.

Owner: the part of the program. Credential: `nobody`; `signature` of the provider; `key` of a license; `claim`
token or cookie of a checkout; `link` by mail or from the command line; `customer` (a session of the portal);
`token:SCOPE`; `staff:ROLE` (a session of the console, of this role at least; `proven`: who has just proved to
be himself); `metrics token`. Tenant: where it comes from. Never from a parameter that the caller is free in.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    method: str
    path: str
    owner: str
    credential: str
    tenant: str

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


# `ANY`: a bare route, which sees to its method itself.
_TABLE = """
ANY /api/webhooks/stripe | intake | signature | of the account
ANY /api/webhooks/paystack | intake | signature | of the account
ANY /api/webhooks/paypal | intake | signature | of the account
ANY /api/webhooks/stripe/{account:str} | intake | signature | of the account
ANY /api/webhooks/stripe/connect | intake | signature | of the connected account
ANY /api/webhooks/paystack/{account:str} | intake | signature | of the account
ANY /api/webhooks/paypal/{account:str} | intake | signature | of the account
ANY /api/stripe/webhook | intake | signature | of the account
ANY /api/billing/webhook/paystack | intake | signature | of the account
ANY /api/license/validate | licensing | key | of the key
ANY /api/license/activate | licensing | key | of the key
ANY /api/license/deactivate | licensing | key | of the key
ANY /api/license/file | licensing | key | of the key
ANY /api/license/hmac-key | licensing | key | of the key
ANY /api/license/stream | streams | key or claim | of the key or the checkout
GET /checkout/{reference:str}/stream | streams | claim | of the checkout

GET /health | health | nobody | none
GET /health/ready | health | nobody | none
GET /health/live | health | nobody | none
GET /metrics | health | metrics token | all: counts alone

GET /api/admin/licenses | admin API | token:read | of the token
POST /api/admin/licenses | admin API | token:write | of the token
GET /api/admin/licenses/{license_id:str} | admin API | token:read | of the token
GET /api/admin/licenses/{license_id:str}/timeline | admin API | token:read | of the token
GET /api/admin/licenses/{license_id:str}/explain | admin API | token:read | of the token
POST /api/admin/licenses/bulk | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/extend | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/transfer | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/give-seats | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/note | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/suspend | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/reinstate | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/revoke | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/resend | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/rotate-key | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/seats | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/cancel | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/resume | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/refund | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/portal | admin API | token:write | of the token
POST /api/admin/licenses/{license_id:str}/firm | admin API | token:write | of the token
POST /api/admin/firms/secret | admin API | token:admin | of the token
GET /api/admin/activations | admin API | token:read | of the token
DELETE /api/admin/activations/{activation_id:str} | admin API | token:write | of the token
GET /api/admin/products | admin API | token:read | of the token
GET /api/admin/plans | admin API | token:read | of the token
GET /api/admin/prices | admin API | token:read | of the token
GET /api/admin/provider-accounts | admin API | token:read | of the token
GET /api/admin/customers | admin API | token:read | of the token
GET /api/admin/customers/{customer_id:str} | admin API | token:read | of the token
GET /api/admin/audit | admin API | token:admin | of the token
GET /api/admin/debug/store | admin API | token:admin | of the token
GET /api/admin/workflows | admin API | token:read | of the token
GET /api/admin/workflows/{workflow_id:str} | admin API | token:read | of the token
POST /api/admin/workflows/{workflow_id:str}/retry | admin API | token:admin | of the token
POST /api/admin/workflows/{workflow_id:str}/cancel | admin API | token:admin | of the token
GET /api/admin/events | admin API | token:read | of the token
GET /api/admin/events/{event_id:str} | admin API | token:read | of the token
POST /api/admin/events/{event_id:str}/replay | admin API | token:write | of the token
POST /api/admin/events/replay | admin API | token:write | of the token
GET /api/admin/tokens | admin API | token:admin | of the token
POST /api/admin/tokens | admin API | token:admin | of the token
DELETE /api/admin/tokens/{token_id:str} | admin API | token:admin | of the token
POST /api/admin/reconcile | admin API | token:write | of the token
GET /api/admin/reconciliations | admin API | token:read | of the token
GET /api/admin/reconciliations/{run_id:str} | admin API | token:read | of the token
POST /api/admin/imports | admin API | token:write | of the token
GET /api/admin/imports | admin API | token:read | of the token
GET /api/admin/imports/{import_id:str} | admin API | token:read | of the token
GET /api/admin/imports/{import_id:str}/conflicts | admin API | token:read | of the token
GET /api/admin/keys | signing keys | token:read | of the token
POST /api/admin/keys/rotate | signing keys | token:admin | of the token
POST /api/admin/keys/{kid:str}/revoke | signing keys | token:admin | of the token
GET /api/admin/tenants | admin API | token:admin | master
POST /api/admin/tenants | admin API | token:admin | master
POST /api/admin/tenants/provision | admin API | token:admin | master
GET /api/admin/tenants/{tenant_id:str} | admin API | token:admin | master
PATCH /api/admin/tenants/{tenant_id:str} | admin API | token:admin | master
GET /api/admin/tenants/{tenant_id:str}/connect | admin API | token:admin | master
POST /api/admin/tenants/{tenant_id:str}/connect | admin API | token:admin | master
PATCH /api/admin/tenants/{tenant_id:str}/connect | admin API | token:admin | master
POST /api/admin/tenants/{tenant_id:str}/connect/{provider:str}/look | admin API | token:admin | master
POST /api/admin/tenants/{tenant_id:str}/connect/{provider:str}/disconnect | admin API | token:admin | master
GET /api/admin/webhook-endpoints | webhooks | token:admin | of the token
POST /api/admin/webhook-endpoints | webhooks | token:admin | of the token
GET /api/admin/webhook-endpoints/{endpoint_id:str} | webhooks | token:admin | of the token
PATCH /api/admin/webhook-endpoints/{endpoint_id:str} | webhooks | token:admin | of the token
DELETE /api/admin/webhook-endpoints/{endpoint_id:str} | webhooks | token:admin | of the token
POST /api/admin/webhook-endpoints/{endpoint_id:str}/rotate-secret | webhooks | token:admin | of the token
POST /api/admin/webhook-endpoints/{endpoint_id:str}/test | webhooks | token:admin | of the token
GET /api/admin/webhook-deliveries | webhooks | token:read | of the token
POST /api/admin/webhook-deliveries/{delivery_id:str}/redeliver | webhooks | token:write | of the token

GET /.well-known/jwks.json | signing keys | nobody | master: public keys alone
GET /t/{slug:str}/.well-known/jwks.json | signing keys | nobody | of the address: public keys alone
GET /.well-known/keywright-keys.jwt | signing keys | nobody | master: public keys alone
GET /t/{slug:str}/.well-known/keywright-keys.jwt | signing keys | nobody | of the address: public keys alone
GET /.well-known/keywright-revoked.jwt | signing keys | nobody | master: ids alone
GET /t/{slug:str}/.well-known/keywright-revoked.jwt | signing keys | nobody | of the address: ids alone

GET /api/public/config | storefront | nobody | master
GET /api/public/plans | storefront | nobody | master
POST /api/checkout/session | checkout | nobody | master
GET /api/checkout/session/{reference:str} | checkout | nobody, or claim for keys | of the checkout
POST /api/checkout/session/{reference:str}/verify | checkout | nobody | of the checkout
GET / | storefront | nobody | master
GET /products/{product:str} | storefront | nobody | master
GET /products/{product:str}/{plan:str} | storefront | nobody | master
GET /buy/{product:str} | storefront | nobody | master
POST /buy/{product:str} | storefront | nobody | master
GET /checkout/{reference:str} | storefront | nobody, or claim for keys | of the checkout
GET /checkout/{reference:str}/state | storefront | nobody, or claim for keys | of the checkout
GET /checkout/{reference:str}/pay | storefront | nobody | of the checkout
POST /checkout/{reference:str}/licenses/{license_id:str}/file | storefront | claim | of the checkout
POST /checkout/{reference:str}/licenses/{license_id:str}/mail | storefront | claim | of the checkout
GET /buy.js | storefront | nobody | none
GET /brand/colors.css | storefront | nobody | master: the look alone
GET /brand/logo | storefront | nobody | master: the look alone
GET /brand/mark.svg | storefront | nobody | master: the look alone
GET /demo/buy-button | sandbox | nobody, in sandbox mode alone | master
GET /demo/design | sandbox | nobody, in sandbox mode alone | none
GET /demo/mails | sandbox | nobody, in sandbox mode alone | master
GET /demo/mails/{name:str} | sandbox | nobody, in sandbox mode alone | master
GET /api/openapi.json | admin API | nobody | none
GET /api/openapi.json/openapi.json | admin API | nobody | none
GET /api/openapi.json/{path:str} | admin API | nobody | none

GET /portal | portal | nobody | master
POST /portal | portal | nobody | master
GET /portal/link/{secret:str} | portal | link | of the link
POST /portal/link/{secret:str} | portal | link | of the link
POST /portal/leave | portal | customer | of the session
GET /portal/licenses | portal | customer | of the session
POST /portal/licenses/{license_id:str}/machines/{machine:str}/free | portal | customer | of the session
POST /portal/licenses/{license_id:str}/resend | portal | customer | of the session
POST /portal/licenses/{license_id:str}/stop | portal | customer | of the session
POST /portal/licenses/{license_id:str}/resume | portal | customer | of the session
POST /portal/licenses/{license_id:str}/manage | portal | customer | of the session
GET /portal/licenses/{license_id:str}/seats | portal | customer | of the session
POST /portal/licenses/{license_id:str}/seats | portal | customer | of the session
POST /portal/licenses/{license_id:str}/file | portal | customer | of the session
POST /portal/licenses/{license_id:str}/machines/{machine:str}/file | portal | customer | of the session
POST /portal/licenses/{license_id:str}/hmac-key | portal | customer | of the session
GET /portal/you | portal | customer | of the session
POST /portal/you/address | portal | customer | of the session
POST /portal/you/export | portal | customer | of the session
POST /portal/you/erase | portal | customer | of the session
GET /portal/address/{secret:str} | portal | customer | of the session
POST /portal/address/{secret:str} | portal | customer | of the session

GET /console/sign-in | console | nobody | of the link or the session
POST /console/sign-in | console | nobody | of the link or the session
GET /console/sign-in/second | console | nobody | of the link or the session
POST /console/sign-in/second | console | nobody | of the link or the session
GET /console/setup/{secret:str} | console | link | of the link or the session
POST /console/setup/{secret:str} | console | link | of the link or the session
GET /console/second-factor | console | link | of the link or the session
POST /console/second-factor | console | link | of the link or the session
POST /console/sign-out | console | staff:read-only | of the session
GET /console | console | staff:read-only | of the session
GET /console/{rest:path} | console | staff:read-only | of the session
GET /console/licenses | console | staff:read-only | of the session
GET /console/licenses/{license_id:str} | console | staff:read-only | of the session
GET /console/licenses/{license_id:str}/suspend | console | staff:support | of the session
POST /console/licenses/{license_id:str}/suspend | console | staff:support | of the session
GET /console/licenses/{license_id:str}/reinstate | console | staff:support | of the session
POST /console/licenses/{license_id:str}/reinstate | console | staff:support | of the session
GET /console/licenses/{license_id:str}/revoke | console | staff:admin | of the session
POST /console/licenses/{license_id:str}/revoke | console | staff:admin | of the session
GET /console/licenses/{license_id:str}/extend | console | staff:support | of the session
POST /console/licenses/{license_id:str}/extend | console | staff:support | of the session
GET /console/licenses/{license_id:str}/transfer | console | staff:support | of the session
POST /console/licenses/{license_id:str}/transfer | console | staff:support | of the session
GET /console/licenses/{license_id:str}/resend | console | staff:support | of the session
POST /console/licenses/{license_id:str}/resend | console | staff:support | of the session
GET /console/licenses/{license_id:str}/rotate-key | console | staff:support | of the session
POST /console/licenses/{license_id:str}/rotate-key | console | staff:support | of the session
GET /console/licenses/{license_id:str}/free | console | staff:support | of the session
POST /console/licenses/{license_id:str}/free | console | staff:support | of the session
GET /console/licenses/{license_id:str}/seats | console | staff:support | of the session
POST /console/licenses/{license_id:str}/seats | console | staff:support | of the session
GET /console/licenses/{license_id:str}/note | console | staff:support | of the session
POST /console/licenses/{license_id:str}/note | console | staff:support | of the session
GET /console/licenses/{license_id:str}/firm | console | staff:support | of the session
POST /console/licenses/{license_id:str}/firm | console | staff:support | of the session
GET /console/firms/secret | console | staff:admin proven | of the session
POST /console/firms/secret | console | staff:admin proven | of the session
GET /console/events | console | staff:read-only | of the session
GET /console/events/{event_id:str} | console | staff:read-only | of the session
POST /console/events/replay | console | staff:admin | of the session
POST /console/events/{event_id:str}/replay | console | staff:admin | of the session
GET /console/mail | console | staff:read-only | of the session
GET /console/mail/{mail:str}/again | console | staff:support | of the session
POST /console/mail/{mail:str}/again | console | staff:support | of the session
GET /console/mail/again | console | staff:admin | of the session
POST /console/mail/again | console | staff:admin | of the session
GET /console/work | console | staff:read-only | of the session
GET /console/work/{work:str} | console | staff:read-only | of the session
GET /console/work/{work:str}/retry | console | staff:admin | of the session
POST /console/work/{work:str}/retry | console | staff:admin | of the session
GET /console/work/{work:str}/cancel | console | staff:admin | of the session
POST /console/work/{work:str}/cancel | console | staff:admin | of the session
GET /console/reconcile | console | staff:read-only | of the session
GET /console/reconcile/run | console | staff:admin | of the session
POST /console/reconcile/run | console | staff:admin | of the session
GET /console/reconcile/{provider:str}/fix | console | staff:admin | of the session
POST /console/reconcile/{provider:str}/fix | console | staff:admin | of the session
GET /console/imports | console | staff:read-only | of the session
GET /console/imports/{import_id:str} | console | staff:read-only | of the session
GET /console/imports/{import_id:str}/conflicts.csv | console | staff:read-only | of the session
GET /console/imports/run | console | staff:admin | of the session
POST /console/imports/run | console | staff:admin | of the session
GET /console/catalog | console | staff:read-only | of the session
GET /console/catalog.toml | console | staff:read-only | of the session
GET /console/catalog/edit | console | staff:admin | of the session
POST /console/catalog/edit | console | staff:admin | of the session
GET /console/catalog/plans/{product:str}/{plan:str} | console | staff:admin | of the session
POST /console/catalog/plans/{product:str}/{plan:str} | console | staff:admin | of the session
GET /console/keys | console | staff:read-only | of the session
GET /console/keys/rotate | console | staff:admin proven | of the session
POST /console/keys/rotate | console | staff:admin proven | of the session
GET /console/keys/{kid:str}/revoke | console | staff:admin proven | of the session
POST /console/keys/{kid:str}/revoke | console | staff:admin proven | of the session
GET /console/settings | console | staff:admin | of the session
POST /console/settings/providers/{provider:str}/test | console | staff:admin | of the session
GET /console/settings/providers/{provider:str} | console | staff:owner proven | of the session
POST /console/settings/providers/{provider:str} | console | staff:owner proven | of the session
POST /console/settings/mail/test | console | staff:admin | of the session
GET /console/settings/tokens/new | console | staff:owner proven | of the session
POST /console/settings/tokens/new | console | staff:owner proven | of the session
GET /console/settings/tokens/{token_id:str}/revoke | console | staff:admin | of the session
POST /console/settings/tokens/{token_id:str}/revoke | console | staff:admin | of the session
GET /console/audit | console | staff:admin | of the session
GET /console/audit.csv | console | staff:admin | of the session
GET /console/audit.json | console | staff:admin | of the session
POST /console/audit/check | console | staff:admin | of the session
GET /console/provisioning | console | staff:admin | of the session
GET /console/provisioning/{work:str} | console | staff:admin | of the session
GET /console/provisioning/new | console | staff:owner proven | of the session
POST /console/provisioning/new | console | staff:owner proven | of the session
GET /console/provisioning/{work:str}/again | console | staff:admin | of the session
POST /console/provisioning/{work:str}/again | console | staff:admin | of the session
GET /console/seats | console | staff:admin | of the session
POST /console/seats | console | staff:owner | of the session
GET /console/tenants | console | staff:admin | of the session
GET /console/tenants/{tenant_id:str} | console | staff:admin | of the session
GET /console/tenants/new | console | staff:owner proven | of the session
POST /console/tenants/new | console | staff:owner proven | of the session
GET /console/tenants/{tenant_id:str}/change | console | staff:owner | of the session
POST /console/tenants/{tenant_id:str}/change | console | staff:owner | of the session
GET /console/tenants/{tenant_id:str}/shred | console | staff:owner proven | of the session
POST /console/tenants/{tenant_id:str}/shred | console | staff:owner proven | of the session
GET /console/tenants/{tenant_id:str}/invite | console | staff:owner proven | of the session
POST /console/tenants/{tenant_id:str}/invite | console | staff:owner proven | of the session
GET /console/settings/connect | console | staff:admin | of the session
POST /console/settings/connect/{provider:str}/start | console | staff:owner | of the session
POST /console/settings/connect/{provider:str}/look | console | staff:admin | of the session
GET /console/settings/connect/{provider:str}/back | console | staff:admin | of the session
GET /console/settings/connect/{provider:str}/disconnect | console | staff:owner | of the session
POST /console/settings/connect/{provider:str}/disconnect | console | staff:owner | of the session
GET /console/tenants/{tenant_id:str}/connect | console | staff:admin | of the session
POST /console/tenants/{tenant_id:str}/connect/{provider:str}/start | console | staff:owner | of the session
POST /console/tenants/{tenant_id:str}/connect/{provider:str}/look | console | staff:admin | of the session
GET /console/tenants/{tenant_id:str}/connect/{provider:str}/back | console | staff:admin | of the session
GET /console/tenants/{tenant_id:str}/connect/{provider:str}/disconnect|console|staff:owner|of the session
POST /console/tenants/{tenant_id:str}/connect/{provider:str}/disconnect|console|staff:owner|of the session
GET /console/tenants/{tenant_id:str}/connect/fee | console | staff:owner proven | of the session
POST /console/tenants/{tenant_id:str}/connect/fee | console | staff:owner proven | of the session
GET /console/tenants/{tenant_id:str}/connect/{provider:str}/attach | console | staff:owner proven | of the session
POST /console/tenants/{tenant_id:str}/connect/{provider:str}/attach | console | staff:owner proven | of the session
GET /console/staff | console | staff:admin | of the session
POST /console/staff | console | staff:owner proven | of the session
POST /console/staff/{staff_id:str}/role | console | staff:owner proven | of the session
POST /console/staff/{staff_id:str}/close | console | staff:owner proven | of the session
POST /console/staff/{staff_id:str}/end-sessions | console | staff:owner proven | of the session
POST /console/staff/{staff_id:str}/link | console | staff:owner proven | of the session
GET /console/looks | console | staff:read-only | of the session
GET /console/looks/letters/{letter:str} | console | staff:read-only | of the session
GET /console/looks/change | console | staff:admin | of the session
POST /console/looks/change | console | staff:admin | of the session
GET /console/webhooks | console | staff:admin | of the session
GET /console/webhooks/{endpoint_id:str} | console | staff:admin | of the session
GET /console/webhooks/deliveries/{delivery_id:str} | console | staff:admin | of the session
GET /console/webhooks/new | console | staff:admin proven | of the session
POST /console/webhooks/new | console | staff:admin proven | of the session
GET /console/webhooks/{endpoint_id:str}/change | console | staff:admin proven | of the session
POST /console/webhooks/{endpoint_id:str}/change | console | staff:admin proven | of the session
GET /console/webhooks/{endpoint_id:str}/rotate-secret | console | staff:admin proven | of the session
POST /console/webhooks/{endpoint_id:str}/rotate-secret | console | staff:admin proven | of the session
GET /console/webhooks/{endpoint_id:str}/pause | console | staff:admin | of the session
POST /console/webhooks/{endpoint_id:str}/pause | console | staff:admin | of the session
GET /console/webhooks/{endpoint_id:str}/resume | console | staff:admin | of the session
POST /console/webhooks/{endpoint_id:str}/resume | console | staff:admin | of the session
GET /console/webhooks/{endpoint_id:str}/delete | console | staff:admin | of the session
POST /console/webhooks/{endpoint_id:str}/delete | console | staff:admin | of the session
GET /console/webhooks/{endpoint_id:str}/test | console | staff:admin | of the session
POST /console/webhooks/{endpoint_id:str}/test | console | staff:admin | of the session
GET /console/webhooks/deliveries/{delivery_id:str}/redeliver | console | staff:admin | of the session
POST /console/webhooks/deliveries/{delivery_id:str}/redeliver | console | staff:admin | of the session
GET /console/you | console | staff:read-only | of the session
POST /console/you/sessions/{session_id:str}/end | console | staff:read-only | of the session
GET /console/you/prove | console | staff:read-only | of the session
POST /console/you/prove | console | staff:read-only | of the session
GET /console/you/add | console | staff:read-only proven | of the session
POST /console/you/add | console | staff:read-only proven | of the session
POST /console/you/add/confirm | console | staff:read-only proven | of the session
POST /console/you/factors/{factor_id:str}/remove | console | staff:read-only proven | of the session
POST /console/you/codes | console | staff:read-only proven | of the session
GET /console/you/password | console | staff:read-only proven | of the session
POST /console/you/password | console | staff:read-only proven | of the session
"""  # noqa: E501  # a route is one line, however long its path


def _rules() -> dict[str, Rule]:
    found = {}
    for line in filter(None, _TABLE.splitlines()):
        called, owner, credential, tenant = (part.strip() for part in line.split("|"))
        method, _, path = called.partition(" ")
        rule = Rule(method, path, owner, credential, tenant)
        if rule.name in found:
            raise ValueError(f"{rule.name} is there twice")
        found[rule.name] = rule
    return found


RULES = _rules()
