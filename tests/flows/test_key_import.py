"""Keys that a seller brings along, on both databases: read strictly, kept as they are, honored like ours."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keywright.domain import hmac_key, license_key
from keywright.domain.errors import Invalid, KeywrightError, Misconfigured
from keywright.domain.plan import Terms
from keywright.flows import (
    activating,
    announce,
    catalog,
    catalog_file,
    key_import,
    license_keys,
    license_views,
    licensing,
    operate,
)
from keywright.flows.context import Context
from keywright.flows.key_import import Imported
from keywright.flows.license_keys import Schemes
from keywright.flows.licensing import Ask, Bookkeeping, Verdict
from keywright.flows.operate import Act, Order
from keywright.store import audit, licenses, tenants, timeline
from keywright.store.operating_tables import former_keys
from keywright.store.tables import activations as activation_table
from keywright.store.tables import announcements as announcement_table
from keywright.store.tables import customers as customer_table
from keywright.store.tables import licenses as license_table
from tests.life import world

STAFF = Act("command line", "we come from elsewhere")
HEAD = "key,plan,email,seats,until,firm,issued_at,fingerprints,name"
FINGERPRINT = "old-machine-number-1"


class Plain:
    """Keys as somebody might make them: `P-` and digits, in which case and blanks do not count."""

    def make(self, random: bytes) -> str:
        return f"P-{int.from_bytes(random, 'big')}"

    def canonical(self, text: str) -> str | None:
        bare = text.upper().replace(" ", "")
        return bare if bare.startswith("P-") and bare[2:].isdigit() else None


@pytest.fixture
def shop(context: Context) -> Context:
    world.stock(
        context, price_pro=Terms(), price_once=Terms(term="perpetual"), price_year=Terms(term=365 * 86400)
    )
    return context


def write(folder: Path, *lines: str, head: str = HEAD, mark: str = "") -> Path:
    path = folder / "keys.csv"
    path.write_text(mark + "\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def bring(context: Context, path: Path, *, dry_run: bool = False) -> Imported:
    return key_import.import_keys(context, context.master.id, path, STAFF, dry_run=dry_run)


def ask(context: Context, key: str, fingerprint: str | None = None, call: str = "validate") -> Verdict:
    asked = licensing.check(context, Ask(key, fingerprint), fingerprint_needed=call != "validate")
    asked = licensing.settle(context, asked) if asked.also else asked
    if call == "activate":
        return activating.activate(context, asked)
    return licensing.validate(context, Bookkeeping(), asked)


def count(context: Context, table: sa.Table) -> int:
    with context.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def reasons(done: Imported) -> dict[int, str]:
    return {one.line: one.reason for one in done.problems}


def test_keys_are_taken_over_as_they_are_and_honored(shop: Context, tmp_path: Path) -> None:
    issued = (shop.clock.now() - timedelta(days=100)).strftime("%Y-%m-%d")
    path = write(
        tmp_path,
        f"old-Key_0001!,dashcaddy/plan-0,ann@example.com,3,2027-06-01,Acme,{issued},{FINGERPRINT},Ann",
        "\"=cmd|'/c calc'!A1\",dashcaddy/plan-0,bob@example.com,,never,,,,",
        "AAAA-BBBB-CCCC-DDDD,dashcaddy/plan-2,ann@example.com,,,,,,",
    )
    done = bring(shop, path)
    assert (done.made, done.machines, done.problems, done.short_keys) == (3, 1, [], 0)
    first = ask(shop, "  old-Key_0001! \n", FINGERPRINT)
    assert first.code == "VALID"
    assert first.license is not None
    assert first.activation is not None
    assert (first.license.seats, first.license.plan) == (3, "plan-0")
    assert first.license.entitled_until == datetime(2027, 6, 1, tzinfo=UTC)
    assert first.lease is not None
    # A cell that a spreadsheet would take for a formula is a text.
    formula = ask(shop, "=cmd|'/c calc'!A1")
    assert formula.license is not None
    assert formula.license.entitled_until is None
    # Without an end of its own in the file, a fixed term runs from when it was issued.
    third = ask(shop, "AAAA-BBBB-CCCC-DDDD")
    assert third.license is not None
    assert third.license.entitled_until == shop.clock.now() + timedelta(days=365)
    # Nobody decided that capitals and dashes do not count.
    assert ask(shop, "OLD-KEY_0001!").code == "NOT_FOUND"
    assert ask(shop, "AAAABBBBCCCCDDDD").code == "NOT_FOUND"
    second = ask(shop, "old-Key_0001!", "another-machine-2", "activate")
    assert second.code == "VALID"
    # One person is one customer, and nobody is written to.
    assert count(shop, customer_table) == 2
    assert count(shop, announcement_table) == 0


def test_what_is_stored_of_a_key_is_a_keyed_hash_and_a_seal(shop: Context, tmp_path: Path) -> None:
    bring(
        shop,
        write(
            tmp_path, "tiny9,dashcaddy/plan-0,,,never,,,,", "longer-key-of-old,dashcaddy/plan-0,,,never,,,,"
        ),
    )
    with shop.database.read() as connection:
        rows = list(connection.execute(sa.select(license_table).order_by(license_table.c.id)).mappings())
    assert [row["origin"] for row in rows] == ["import", "import"]
    assert {row["key_last5"] for row in rows} == {"9", "f-old"}
    for row in rows:
        assert "tiny9" not in str(dict(row))
        assert "longer-key" not in str(dict(row))
    kept = shop.vault.unseal(shop.master.id, "license-key", rows[0]["id"], rows[0]["key_sealed"])
    assert license_keys.printed("DC", kept) in ("tiny9", "longer-key-of-old")


def test_a_dry_run_changes_nothing_and_a_second_run_neither(shop: Context, tmp_path: Path) -> None:
    lines = [
        f"key-of-old-{n:04},dashcaddy/plan-0,p{n % 7}@example.com,2,2027-06-01,,,machine-{n:05},"
        for n in range(450)
    ]
    path = write(tmp_path, *lines, mark="\ufeff")
    dry = bring(shop, path, dry_run=True)
    assert (dry.made, dry.machines, dry.lines) == (450, 450, 450)
    assert count(shop, license_table) == 0
    assert ask(shop, "key-of-old-0001").code == "NOT_FOUND"
    told: list[tuple[int, int]] = []
    done = key_import.import_keys(
        shop, shop.master.id, path, STAFF, progress=lambda at, of: told.append((at, of))
    )
    assert (done.made, done.unchanged) == (450, 0)
    assert told == [(100, 450), (200, 450), (300, 450), (400, 450), (450, 450)]
    assert (count(shop, license_table), count(shop, activation_table), count(shop, customer_table)) == (
        450,
        450,
        7,
    )
    again = bring(shop, path)
    assert (again.made, again.unchanged, again.machines, again.problems) == (0, 450, 0, [])
    assert count(shop, activation_table) == 450
    assert ask(shop, "key-of-old-0449", "machine-00449").code == "VALID"


def test_a_run_that_was_cut_off_is_started_again(shop: Context, tmp_path: Path) -> None:
    path = write(
        tmp_path, *(f"key-of-old-{n:04},dashcaddy/plan-0,a@example.com,1,never,,,," for n in range(450))
    )

    def give_up(done: int, _of: int) -> None:
        if done == 400:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        key_import.import_keys(shop, shop.master.id, path, STAFF, progress=give_up)
    assert count(shop, license_table) == 400
    done = bring(shop, path)
    assert (done.made, done.unchanged, done.problems) == (50, 400, [])
    assert license_views.check_integrity(shop, shop.master.id).damaged == []


def test_a_batch_that_fails_leaves_nothing_of_itself(shop: Context, tmp_path: Path) -> None:
    lines = [
        f"key-of-old-{n:04},dashcaddy/plan-0,p{n}@example.com,1,never,,,machine-{n:05}," for n in range(250)
    ]
    # The second batch's last machine meets a rule of the database's own.
    with shop.database.write() as connection:
        connection.execute(sa.text("CREATE UNIQUE INDEX one_ann ON customers (name)"))
    path = write(
        tmp_path,
        *lines,
        "key-of-old-x,dashcaddy/plan-0,x1@example.com,1,never,,,,Twin",
        "key-of-old-y,dashcaddy/plan-0,y1@example.com,1,never,,,,Twin",
    )
    with pytest.raises(sa.exc.IntegrityError):
        bring(shop, path)
    assert [count(shop, table) for table in (license_table, activation_table, customer_table)] == [200] * 3
    assert ask(shop, "key-of-old-0199", "machine-00199").code == "VALID"


def test_each_line_that_is_wrong_is_named_and_the_others_are_taken(shop: Context, tmp_path: Path) -> None:
    wrong = [
        ",dashcaddy/plan-0,,,never,,,,",
        "abc,dashcaddy/plan-0,,,never,,,,",
        "a-good-key-1,dashcaddy/gold,,,never,,,,",
        "a-good-key-2,dashcaddy/plan-0,nobody,,never,,,,",
        "a-good-key-3,dashcaddy/plan-0,,0,never,,,,",
        "a-good-key-4,dashcaddy/plan-0,,-1,never,,,,",
        "a-good-key-5,dashcaddy/plan-0,,1e3,never,,,,",
        "a-good-key-6,dashcaddy/plan-0,,99999999999999999999,never,,,,",
        "a-good-key-7,dashcaddy/plan-0,,,,,,,",
        "a-good-key-8,dashcaddy/plan-0,,,tomorrow,,,,",
        "a-good-key-9,dashcaddy/plan-0,,,2027-06-01T12:00:00,,,,",
        "a-good-key-10,dashcaddy/plan-0,,,0001-01-01,,,,",
        "a-good-key-11,dashcaddy/plan-0,,,never,,2099-01-01,,",
        "a-good-key-12,dashcaddy/plan-0,,,never,,,short,",
        "a-good-key-13,dashcaddy/plan-0,,,never,,,,,",
        "a-good-key-14,dashcaddy/plan-0,,,never",
        '"a-good\nkey-15",dashcaddy/plan-0,,,never,,,,',
        "a-good-key-00,dashcaddy/plan-0,,,never,,,,",
        "a-good-key-16,dashcaddy/plan-0,,,never,4242424242424242,,,",
    ]
    path = write(tmp_path, "a-good-key-00,dashcaddy/plan-0,,,never,,,,", "", *wrong)
    done = bring(shop, path)
    told = reasons(done)
    assert (done.made, done.refused, done.conflicts) == (1, len(wrong), 0)
    # The head, one good line and a blank one; a cell with a line end in it takes two.
    assert list(told) == [*range(4, 20), *range(20, 21), 22, 23]
    assert told[4] == "key is empty"
    assert "4 to 256 printable" in told[5]
    assert "there is no such plan" in told[6]
    assert told[7] == "email is no e-mail address"
    assert told[20] == "key has characters that cannot be printed"
    assert told[22] == "the same key as in line 2"
    assert not any("a-good-key" in reason or "4242" in reason for reason in told.values())
    assert ask(shop, "a-good-key-00").code == "VALID"
    assert ask(shop, "a-good-key-16").code == "NOT_FOUND"


UNREADABLE = [
    (b"", "is missing"),
    (b"key,plan,email,seats\n", ":1: .*until is missing"),
    (b"key;plan;email;seats;until\n", ":1: columns are separated by commas"),
    (b"key,plan,email,seats,until,price\n", ":1: there is no column 'price'"),
    (b"key,plan,email,seats,until,key\n", ":1: a column is there twice"),
    (b"key,plan,email,seats,until\ngood-key-1,dashcaddy/plan-0,,,never\nb\xffd,x,,,never\n", "not UTF-8"),
    (
        b'key,plan,email,seats,until\ngood-key-1,dashcaddy/plan-0,,,never\n"open',
        ":3: unexpected end of data",
    ),
    (b'key,plan,email,seats,until\n"a"b,dashcaddy/plan-0,,,never\n', ":2: "),
    ("key,plan,email,seats,until\n".encode("utf-16"), "not UTF-8"),
]


def test_a_file_that_cannot_be_read_is_refused_whole(shop: Context, tmp_path: Path) -> None:
    path = tmp_path / "keys.csv"
    for content, said in UNREADABLE:
        path.write_bytes(content)
        with pytest.raises(Invalid, match=said) as caught:
            bring(shop, path)
        assert caught.value.code == "KEYS_UNREADABLE"
    assert count(shop, license_table) == 0


def test_a_file_that_is_not_there_or_too_large_is_refused(shop: Context, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        bring(shop, tmp_path / "nothing.csv")
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(KeywrightError, match="larger than 64 MiB"):
        bring(shop, path)


def test_a_key_that_is_here_and_differs_is_told_and_left_alone(shop: Context, tmp_path: Path) -> None:
    bring(shop, write(tmp_path, "key-of-old-1,dashcaddy/plan-0,ann@example.com,2,2027-06-01,,,,"))
    id_ = license_views.resolve(shop, shop.master.id, "key-of-old-1")
    operate.extend(shop, shop.master.id, id_, STAFF, until=datetime(2028, 1, 1, tzinfo=UTC))
    done = bring(shop, write(tmp_path, "key-of-old-1,dashcaddy/plan-1,ann2@example.com,5,2027-06-01,,,,"))
    (problem,) = done.problems
    assert (done.made, done.conflicts, problem.kind, problem.line) == (0, 1, "conflict", 2)
    for told in (id_, "plan is dashcaddy/plan-0", "seats is 2, and 5 in the file", "2028-01-01", "email is"):
        assert told in problem.reason
    assert "ann2" not in problem.reason
    verdict = ask(shop, "key-of-old-1")
    assert verdict.license is not None
    assert verdict.license.seats == 2


def test_a_key_of_another_tenant_is_refused_like_what_is_no_key(shop: Context, tmp_path: Path) -> None:
    with shop.database.write() as connection:
        other = tenants.Tenant("ten_other", "other", "Other")
        tenants.insert(connection, other, shop.clock.now())
    lines = [f"{key},dashcaddy/plan-0,ann@example.com,2,2027-06-01,,,," for key in ("short-1", "short-2")]
    bring(shop, write(tmp_path, *lines))
    for key in ("short-1", "short-2"):
        id_ = license_views.resolve(shop, shop.master.id, key)
        if key == "short-2":
            operate.rotate_key(shop, shop.master.id, id_, STAFF)
    with shop.database.write() as connection:
        for table in (license_table, former_keys):
            connection.execute(sa.update(table).values(tenant_id="ten_other"))
    none = "abc,dashcaddy/plan-0,ann@example.com,2,2027-06-01,,,,"
    for dry_run in (True, False):
        done = bring(shop, write(tmp_path, *lines, none), dry_run=dry_run)
        assert len(set(reasons(done).values())) == 1, reasons(done)
        assert {one.kind for one in done.problems} == {"refused"}
        assert (done.made, done.refused, done.conflicts, done.short_keys) == (0, 3, 0, 0)


def test_each_license_says_where_it_comes_from_and_the_audit_which_file(
    shop: Context, tmp_path: Path
) -> None:
    bring(shop, write(tmp_path, f"key-of-old-1,dashcaddy/plan-0,ann@example.com,2,never,,,{FINGERPRINT},"))
    id_ = license_views.resolve(shop, shop.master.id, "key-of-old-1")
    (entry,) = license_views.timeline_of(shop, shop.master.id, id_).items
    assert entry.kind == "license.imported"
    assert entry.detail["by"] == "command line"
    assert entry.detail["why"] == STAFF.reason
    assert len(entry.detail["activations"]) == 1
    with shop.database.read() as connection:
        (told,) = audit.list_page(connection, shop.master.id, filters={}, before=None, limit=10)
        assert audit.first_break(connection, shop.master.id) is None
        held = licenses.find(connection, shop.master.id, id_)
        entries = timeline.list_page(connection, shop.master.id, id_, after=0, limit=10)
    assert (told.act, told.actor) == ("keys.imported", "command line")
    assert '"made":1' in told.detail
    assert "key-of-old" not in told.detail
    assert held is not None
    assert timeline.first_break(entries, held.head) is None
    assert license_views.check_integrity(shop, shop.master.id).damaged == []


def test_a_mistyped_key_of_ours_is_looked_for_only_where_such_keys_are_held(
    shop: Context, tmp_path: Path
) -> None:
    _, key = operate.issue(shop, shop.master.id, Order("dashcaddy/plan-0", "ann@example.com"), STAFF)
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert licensing.check(shop, Ask(wrong), fingerprint_needed=False).key_hash is None
    # A text of 25 characters with dashes is how many others write their keys.
    bring(shop, write(tmp_path, f"{wrong},dashcaddy/plan-0,,,never,,,,"))
    assert ask(shop, wrong).code == "VALID"
    assert ask(shop, key).code == "VALID"
    assert ask(shop, key.lower().replace("-", " ")).code == "VALID"
    assert licensing.check(shop, Ask("ab"), fingerprint_needed=False).key_hash is None
    assert licensing.check(shop, Ask("x" * 257), fingerprint_needed=False).key_hash is None
    assert licensing.check(shop, Ask("with\x00nothing"), fingerprint_needed=False).key_hash is None


def test_a_key_that_reads_as_one_of_ours_is_found_like_one(shop: Context, tmp_path: Path) -> None:
    brought = license_key.make("OLD", b"x" * license_key.RANDOM_BYTES)
    bring(shop, write(tmp_path, f"{brought},dashcaddy/plan-0,,,never,,,,"))
    assert ask(shop, brought.lower()).code == "VALID"
    # Nothing else is looked for on its account.
    assert shop.schemes.forms("some-other-text") == ()


def test_a_key_that_reads_as_an_hmac_key_is_refused_since_it_would_never_be_found(
    shop: Context, tmp_path: Path
) -> None:
    body = hmac_key.Body(tier=3, product=2, seats=9, last_day=20800, epoch=1, serial=b"12345")
    full = hmac_key.make(bytes(64), "Some firm", body)
    short = hmac_key.grouped(hmac_key.shortened(full))
    found = bring(shop, write(tmp_path, *(f"{key},dashcaddy/plan-1,,1,never,,,," for key in (full, short))))
    assert (found.made, found.refused) == (0, 2)
    assert {one.reason for one in found.problems} == {
        "key reads as an HMAC key, and would never be found as this one"
    }


def test_another_process_learns_of_brought_keys(shop: Context, tmp_path: Path) -> None:
    server = replace(shop, schemes=Schemes())
    bring(shop, write(tmp_path, "key-of-old-1,dashcaddy/plan-0,,,never,,,,"))
    assert ask(server, "key-of-old-1").code == "NOT_FOUND"
    server.schemes.learn(server.database)
    assert ask(server, "key-of-old-1").code == "VALID"


def test_a_rotated_key_leaves_the_old_one_dead(shop: Context, tmp_path: Path) -> None:
    bring(shop, write(tmp_path, f"key-of-old-1,dashcaddy/plan-0,,,never,,,{FINGERPRINT},"))
    id_ = license_views.resolve(shop, shop.master.id, "key-of-old-1")
    row, key = operate.rotate_key(shop, shop.master.id, id_, STAFF)
    assert ask(shop, "key-of-old-1").code == "NOT_FOUND"
    assert ask(shop, key, FINGERPRINT).code == "VALID"
    assert row.activations == 1
    # A second run of the same file must not bring the leaked key back.
    again = bring(shop, tmp_path / "keys.csv")
    assert (again.made, again.conflicts) == (0, 1)
    assert reasons(again)[2] == f"this key was replaced by a new one of {id_}"
    assert ask(shop, "key-of-old-1").code == "NOT_FOUND"


# -- schemes --------------------------------------------------------------------------------------------


def with_scheme(context: Context, terms: dict[str, Terms], **installed: Any) -> Context:
    made = replace(context, schemes=Schemes(installed))
    world.stock(made, **terms)
    return made


CATALOG = """
[[product]]
slug = "old"
name = "Old"
key_scheme = "plain"

[[product.plan]]
slug = "pro"
name = "Pro"
term = "perpetual"
"""


def test_a_product_with_a_scheme_sells_keys_of_it(context: Context, tmp_path: Path) -> None:
    wanted = catalog_file.parse(CATALOG, source="catalog.toml", environment={})
    with pytest.raises(Invalid, match='no installed package offers key_scheme = "plain"'):
        catalog.apply(context, wanted)
    shop = replace(context, schemes=Schemes({"plain": Plain()}))
    applied = catalog.apply(shop, wanted)
    assert applied.changes
    assert catalog.apply(shop, wanted).changes == ()
    _, key = operate.issue(shop, shop.master.id, Order("old/pro", "ann@example.com"), STAFF)
    assert key.startswith("P-")
    assert ask(shop, key.lower()).code == "VALID"
    assert license_views.resolve(shop, shop.master.id, f" {key} ").startswith("lic_")
    brought = write(tmp_path, "P-1234567890123,old/pro,,,never,,,,", "Q-1,old/pro,,,never,,,,")
    assert reasons(bring(shop, brought)) == {3: "key is none of the scheme plain that can be a key here"}
    assert ask(shop, "p-123 456 789 0123").code == "VALID"
    # Without the package the server would turn those customers away: it says so at its start.
    gone = Schemes()
    gone.learn(shop.database)
    assert gone.missing() == ["plain"]


def test_the_same_text_may_be_a_key_of_two_kinds(context: Context, tmp_path: Path) -> None:
    world.stock(context, price_pro=Terms(), price_plain=Terms(key_scheme="plain"))
    shop = replace(context, schemes=Schemes({"plain": Plain()}))
    bring(shop, write(tmp_path, "p-777777777777,dashcaddy/plan-0,,1,never,,,,"))
    bring(shop, write(tmp_path, "p-888888888888,dashcaddy/plan-1,,2,never,,,,"))
    for key, seats in (("p-777777777777", 1), ("p-888888888888", 2), ("P-8888 8888 8888", 2)):
        verdict = ask(shop, key, "machine-number-1", "activate")
        assert verdict.license is not None
        assert verdict.license.seats == seats
    assert ask(shop, "P-777777777777").code == "NOT_FOUND"


class Broken:
    """A scheme whose author made mistakes."""

    def __init__(self, *, makes: str = "ok-key", reads: Any = None) -> None:
        self.makes, self.reads = makes, reads

    def make(self, random: bytes) -> str:
        assert len(random) == 32
        return self.makes

    def canonical(self, text: str) -> str | None:  # noqa: ARG002  # as the port has it
        if isinstance(self.reads, Exception):
            raise self.reads
        return self.reads  # type: ignore[no-any-return]  # what it should not be, too


@pytest.mark.parametrize("reads", [ValueError("a secret"), 7, "", "x" * 300, "a\nb"], ids=str)
def test_a_scheme_that_fails_knows_no_key_and_ends_no_call(reads: Any) -> None:
    schemes = Schemes({"broken": Broken(reads=reads)})
    assert schemes.form("broken", "some-key-of-theirs") is None
    with pytest.raises(Misconfigured, match="does not know a key that it made itself"):
        license_keys.fresh(schemes, Terms(key_scheme="broken"))
    with pytest.raises(Misconfigured, match="is not installed here"):
        license_keys.fresh(Schemes(), Terms(key_scheme="broken"))


def test_a_mail_brings_a_key_of_a_scheme_as_it_is_printed(context: Context) -> None:
    world.stock(context, price_plain=Terms(key_scheme="plain", term="perpetual"))
    shop = replace(context, schemes=Schemes({"plain": Plain()}))
    row, key = operate.issue(shop, shop.master.id, Order("dashcaddy/plan-0", "ann@example.com"), STAFF)
    assert len(row.key_last5) == 5
    assert key.endswith(row.key_last5)
    assert shop.policy.outbox is not None
    with shop.database.read() as connection:
        batches = set(connection.execute(sa.select(announcement_table.c.batch)).scalars())
    for batch in batches:
        announce.send_due(shop, batch)
    (mail,) = list(Path(shop.policy.outbox).glob("*.eml"))
    assert key in mail.read_text().replace("=\n", "")
