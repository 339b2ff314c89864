"""Every statement names its tenant, or something that is one tenant's alone; or stands below with its reason.

`tenant_lint.KEYS` are the columns that count. What is listed here was looked at: from where its ids come, or
why it is about all tenants. A statement that is neither fails the build, and so does a line without one.
"""

from __future__ import annotations

from pathlib import Path

from tests.contract.tenant_lint import of_source, statements

SRC = Path(__file__).resolve().parents[2] / "src" / "keywright"

EVERY_TENANT = """
announcements.counts announcements.pending announcements.stranded
inbox.counts inbox.accounts_due inbox.list_due refetches.accounts_due
licenses.counts licenses.list_strays key_schemes.list_used activations.list_ended
keys.any_data_key keys.tenants_with_keys keys.signing_and_next
master_keys.rewrap master_keys.count_wrapped master_keys.list_wrapped
master_keys.note_master notices.list_terms revenue.recount
portal_links.sweep staff.insert_link staff_sessions.insert
webhook_outbox.look webhook_outbox.list_clocks webhooks.list_due webhooks.let_go webhooks.forget
dump.read dump.count changes.tell changes._leave ended_work.status_of ended_work.forget
engine_work.list_newest
"""
"""Work of the installation: what is due, what is over, the engine's own, counts for metrics, copies. Rows
bring their tenant along, and what is done about them is done in its name."""

THE_TENANT = """
tenants.find_by_id tenants.find tenants.with_accounts tenants.find_row tenants.insert_new tenants.id_of_slug
tenants.list_page tenants.ids_by_email staff.find_anywhere checkouts.of_others
"""
"""Which tenant it is, is what is asked."""

THE_ACCOUNT = """
connected._every connected.begin license_views.provider_of reconciliations.compared_until
reconciliations.move_on
"""
"""By the id of a provider account, which is one tenant's, in the table of accounts itself."""

WORDS = """
licenses.every mails._rows numbers._gone numbers._made rows._insert_text rows._update_text
refetches.want machines.keep tenants.insert_new
"""
"""The beginning of a statement, which names its tenant where it is ended; or one that only inserts rows, each
with its tenant."""

READ_BEFORE = """
activations.hold activations.rebind activations.renew_leases activations.seen activations.held_by
activations.count_released activations.release_many
announcements.settle announcements.find_detail announcements.release_waiting
catalog.prefixes catalog_rows.update_products catalog_rows.update_plans catalog_rows.update_prices
console_views.events_about
checkouts.settle checkouts.bound customers.learn customers.get_many customers.move customers.speak
event_links.purchases_of_events event_links.licenses_of
firms.keys_of firms.codes_of
imports.lines_for imports.drop_lines imports.give_up imports.use_lines imports.unused_lines imports.move_on
inbox.settle inbox.still_waiting inbox.stop_waiting inbox.stop_waiting_for inbox.get_many
letters.lock_addresses license_files.forget license_views.names
licenses.update licenses.count_machines
machines.keep machines.count_rebinds machines.list_alike
personal_data.erase_people personal_data.events_of personal_data.erase_purchases
personal_data.erase_events personal_data.erase_machines
portal_links._forget_links portal_links.end_sessions_of portal_links.use_link portal_links.find_link
portal_views.deals_of portal_views.plans_of portal_views.machines_of
provisionings.steps_of provisionings.forget_steps provisionings.change provisionings.end_step
provisionings.replace tenant_customers.license_of
purchases.update purchases.aliases_of purchases.events_of purchases.lead
reconciliations.update staff.tie_link staff.use_link staff.advance staff.count_signature
staff_sessions.touch staff_sessions.prove staff_sessions.keep tenant_customers.give
tenant_customers.await_tenant tenant_ending.part_purchases timeline.tells_of webhooks.claim webhooks.settle
"""
"""By ids of rows that the caller has just read or locked by their tenant, their account or a secret, or that
such rows refer to. None of these ids is taken from a request: `tests/security/test_s01_tenants.py` tries."""

LISTED = (EVERY_TENANT, THE_TENANT, THE_ACCOUNT, WORDS, READ_BEFORE)


def listed() -> set[str]:
    return {f"store.{name}" for names in LISTED for name in names.split()}


def test_every_statement_names_its_tenant_or_says_why_not() -> None:
    found = statements(SRC)
    assert len(found) > 250
    loose = {one.place for one in found if one.needs_tenant}
    assert sorted(loose - listed()) == [], "name the tenant, or list it here with what holds in its place"
    assert sorted(listed() - loose) == [], "listed and not there, or named meanwhile"


def test_no_statement_is_made_outside_the_store() -> None:
    assert [one.place for one in statements(SRC) if not one.place.startswith("store.")] == []


def test_each_way_to_forget_the_tenant_is_noticed() -> None:
    head = "import sqlalchemy as sa\nfrom keywright.store import rows\n"
    head += "from keywright.store.tables import licenses, tenants\n"
    whole = "sa.select(licenses).where(licenses.c.id == id_)"
    for body, is_loose in (
        (f"c.execute({whole})", True),
        (f"q = {whole}\n    c.execute(q.limit(1))", True),
        (f"q = {whole}\n    q = q.where(licenses.c.tenant_id == t)\n    c.execute(q)", False),
        (f"c.execute({whole}.where(licenses.c.tenant_id == t))", False),
        (f"c.execute({whole}.where(licenses.c.tenant_id.in_(t)))", False),
        (f"q = {whole}\n    c.execute(q.where(licenses.c.tenant_id == t))", False),
        (f"a, b = {whole}, {whole}.limit(1)\n    for q in (a, b):\n        c.execute(q)", True),
        (f"c.execute({whole}.where(licenses.c.tenant_id != t))", True),
        ("c.execute(sa.delete(licenses))", True),
        ("c.execute(sa.update(licenses).values(tenant_id=t))", True),
        ("rows.update(c, licenses, changed)", True),
        ("c.execute(sa.text('SELECT * FROM licenses WHERE id = :id'))", True),
        ("c.execute(sa.text(f'DELETE FROM {t} WHERE id = :id'))", True),
        ("c.execute(sa.text('SELECT * FROM licenses WHERE tenant_id = :tenant'))", False),
        ("c.execute(sa.select(tenants))", False),
    ):
        source = f"{head}\ndef ask(c, t, id_):\n    {body}\n"
        assert any(one.needs_tenant for one in of_source("planted", source)) is is_loose, body
