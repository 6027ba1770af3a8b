"""The audit log: every entry once, in one order, and no change of it goes unseen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from datasets.store import Store, open_store
from quantbot.errors import CorruptError, StoreError
from sweeps import audit


@pytest.fixture
def root(tmp_path: Any) -> Store:
    return open_store(tmp_path / "store")


def fill(root: Store, n: int) -> list[str]:
    """Write so many entries and return their keys."""
    for number in range(n):
        audit.record(root, "cancel", user=f"user-{number}", subject="3fa2c41b")
    return root.list("audit/")


def test_log__of_a_fresh_store_is_empty_and_whole(root: Store) -> None:
    assert audit.entries(root) == []
    assert audit.verify(root) == audit.Verified(0, "0" * 64, ())


def test_entries__say_who_did_what_in_order(root: Store) -> None:
    fill(root, 3)
    audit.record(root, "submit", user="ada", role="viewer", outcome="refused", details={"reason": "no role"})
    found = audit.entries(root)
    assert [entry.number for entry in found] == [1, 2, 3, 4]
    assert (found[-1].user, found[-1].action, found[-1].outcome) == ("ada", "submit", "refused")
    assert found[-1].details == {"reason": "no role"}
    assert [entry.number for entry in audit.entries(root, newest=2)] == [3, 4]
    assert [entry.number for entry in audit.entries(root, newest=9)] == [1, 2, 3, 4]


def test_writers__of_many_processes_lose_nothing_and_share_no_number(root: Store, monkeypatch: Any) -> None:
    class Forgetful(dict[str, tuple[int, str]]):
        """Every writer finds the end by itself, as processes of their own do."""

        def get(self, *_: Any) -> None:
            return None

    class NoLock:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(audit, "_TAILS", Forgetful())
    monkeypatch.setattr(audit, "_LOCK", NoLock())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: audit.record(root, "submit", user=f"user-{number}"), range(60)))
    assert {entry.user for entry in audit.entries(root)} == {f"user-{number}" for number in range(60)}
    assert audit.verify(root).problems == ()


def test_writer__goes_on_after_entries_of_another(root: Store, monkeypatch: Any) -> None:
    audit.record(root, "submit", user="ours")
    ours = dict(audit._TAILS)
    fill(root, 3)  # theirs
    monkeypatch.setattr(audit, "_TAILS", ours)
    assert audit.record(root, "submit", user="ours again").number == 5
    assert audit.verify(root).problems == ()


def test_folders__hold_a_thousand_each(root: Store, monkeypatch: Any) -> None:
    monkeypatch.setattr(audit, "_A_FOLDER", 3)
    keys = fill(root, 8)
    assert keys[-1] == "audit/000002/000000008.json"
    audit._TAILS.clear()
    assert audit.record(root, "submit", user="ada").number == 9
    assert audit.verify(root).n_entries == 9


@pytest.mark.parametrize("where", [0, 2, 4])
def test_a_changed_entry__is_found(root: Store, where: int) -> None:
    keys = fill(root, 5)
    data = root.get(keys[where])
    root.put(keys[where], data.replace(b"user-", b"xser-"))
    problems = audit.verify(root).problems
    assert any(keys[where] in problem for problem in problems)
    with pytest.raises(CorruptError):
        audit.entries(root)


def test_an_entry__rewritten_with_a_seal_of_its_own_breaks_the_chain(root: Store) -> None:
    import json

    from datasets.manifest import canonical
    from datasets.seals import seal, unseal

    keys = fill(root, 5)
    body = json.loads(unseal(root.get(keys[1]), keys[1], keys[1]))
    root.put(keys[1], seal(canonical(body | {"user": "nobody"}), keys[1]))
    assert any(keys[2] in problem for problem in audit.verify(root).problems)


def test_a_removed_entry__is_found_and_one_at_the_end_by_the_head_that_was_kept(root: Store) -> None:
    keys = fill(root, 5)
    head = audit.verify(root).head
    root.delete(keys[2])
    assert any(keys[2] in problem for problem in audit.verify(root).problems)
    root.delete(keys[3])
    root.delete(keys[4])
    assert audit.verify(root).problems == ()  # the chain alone can't know
    assert "missing at the end" in audit.verify(root, kept=(5, head)).problems[0]


def test_a_log__written_anew_as_a_whole_is_told_by_the_head_that_was_kept(root: Store) -> None:
    for key in fill(root, 3):
        root.delete(key)
    head = "ab" * 32
    audit._TAILS.clear()
    fill(root, 3)
    assert audit.verify(root).problems == ()
    assert "was kept" in audit.verify(root, kept=(3, head)).problems[0]


def test_texts__of_hostile_users_are_cut_and_without_secrets_or_control_characters(root: Store) -> None:
    entry = audit.record(
        root, "submit", user="eve\n\x1b[2J", subject="x" * 10_000, details={"url": "s3://key:secret12@bucket/x"}
    )
    assert audit.entries(root) == [entry]
    assert entry.user == "eve  [2J"
    assert len(entry.subject) < 600
    assert "secret12" not in root.get(root.list("audit/")[0]).decode()


def test_store__that_is_away_lets_nothing_go_unrecorded(root: Store, monkeypatch: Any) -> None:
    def away(*_: Any) -> bool:
        raise StoreError("away")

    monkeypatch.setattr(type(root), "put_new", away)
    with pytest.raises(StoreError):
        audit.record(root, "submit", user="ada")
