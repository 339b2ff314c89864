"""`key master` and `key rotate-master`: the key above all others, and a new one in its place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli.session import AsJson, actor, opened, print_json, print_table

if TYPE_CHECKING:
    from keywright.key_ports import MasterKeys

Reason = Annotated[str | None, typer.Option("--reason", help="Why. It stands in the audit.")]


def show(json: AsJson = False) -> None:
    """Which master keys there were, from when until when, and what they still wrap. Never a key."""
    from keywright.flows import master_key

    with opened() as context:
        uses = master_key.show(context)
    if json:
        print_json(uses)
        return
    heads = ("id", "generation", "since", "until", "wraps", "at hand")
    rows = [
        (one.id, one.generation, one.since, one.until, one.wraps, "yes" if one.at_hand else "no")
        for one in uses
    ]
    print_table(heads, rows)


def rotate(
    prepare: Annotated[
        bool,
        typer.Option(
            "--prepare", help="Only make the new key in the file, to copy it to other machines first."
        ),
    ] = False,
    keep_old: Annotated[
        Path | None,
        typer.Option("--keep-old", metavar="FILE", help="Where the old key goes: it opens older backups."),
    ] = None,
    reason: Reason = None,
    json: AsJson = False,
) -> None:
    """Put everything under a new master key while the servers run. Ended half way: run it again."""
    from keywright.domain.errors import Misconfigured
    from keywright.flows import master_key
    from keywright.flows.signing_keys import KeyAct

    if keep_old is not None and keep_old.exists():
        raise Misconfigured(f"{keep_old} is there already.")
    with opened() as context, _progress(sum(one.wraps for one in master_key.show(context))) as tell:
        act = KeyAct(actor(), reason)
        try:
            done = master_key.rotate(context, act, prepare=prepare, keep=keep_old, tell=tell)
        except OSError as error:
            raise Misconfigured(
                f"{error.filename or keep_old} cannot be written: {error.strerror}."
            ) from None
    if json:
        print_json(done)
    else:
        _tell(done, keep_old)


def _tell(done: MasterKeys, kept: Path | None) -> None:
    if done.begun:
        print(f"The new master key {done.id} stands first in {done.source}, and wraps nothing yet.")
        print("Copy the file to every machine that has one. Then: keywright key rotate-master")
        return
    print(f"Master key {done.id}, generation {done.generation}: {done.rewrapped} keys were put under it.")
    if done.left_out:
        left = ", ".join(done.left_out)
        if done.source.startswith("KEYWRIGHT_MASTER_KEY"):
            print(f"Nothing is under {left} any longer: take it out of {done.source}.")
        else:
            print(f"{left} was taken from the file" + (f", and is in {kept}." if kept else "."))
        print(
            "Backups of before open with the old key alone. Make a new one, and keep a copy of the new key."
        )


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress

    with Progress(BarColumn(), MofNCompleteColumn(), console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("", total=total)
        yield lambda count: bars.update(bar, completed=count)
