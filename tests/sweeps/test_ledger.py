"""The trial ledger: each evaluated trial of a strategy on a dataset once, however it came to be run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.store import Store, open_store
from datasets.store_file import FileStore
from quantbot.errors import CorruptError, NotFoundError
from sweeps import ledger, ledger_sums
from sweeps.executors import serial
from sweeps.ledger import Family, families, find_family, read_ledger
from sweeps.ledger_entry import CHOICE, Entry, Sample, Trials, encode_entry
from sweeps.results import open_run
from sweeps.run import drive
from sweeps.trial_digests import point_words, setting_words, trial_digests

ROOT = Path(__file__).parents[2]
FAMILY = Family("sma_cross", "test/small")


def driven(small: Any, root: Store, spec: dict[str, Any], points: int = 16) -> str:
    identity: str = small.submit(root, spec, points)
    with serial() as executor:
        drive(root, identity, executor)
    return identity


def varied(spec: dict[str, Any], name: str = "small", **more: Any) -> dict[str, Any]:
    return {**spec, "run": {"name": name}, **more}


def divided(spec: dict[str, Any], n: int = 10) -> list[dict[str, Any]]:
    """Return the small sweep as `n` sweeps: one value of `fast` each."""
    fasts = range(3, 13)
    return [varied(spec, f"part-{fast}", parameters={**spec["parameters"], "fast": fast}) for fast in list(fasts)[:n]]


@pytest.fixture(scope="module")
def whole(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    root: Store = small.root(tmp_path_factory.mktemp("whole"))
    driven(small, root, small.spec)
    return root


def content(found: ledger.Ledger) -> tuple[object, ...]:
    return found.n_trials, found.n_choices, found.effective, found.mean_sharpe, found.variance_sharpe


# -- what counts ------------------------------------------------------------------------------------------------------


def test_ledger__counts_every_trial_of_a_run_and_their_sharpe_ratios(whole: Store) -> None:
    run = open_run(whole, "small")
    found = read_ledger(whole, FAMILY)
    assert found.n_trials == run.plan.n_trials
    ratios = run.values("sharpe").astype(np.float32).astype(np.float64)
    ratios = ratios[np.isfinite(ratios)]
    assert found.mean_sharpe == pytest.approx(ratios.mean())
    assert found.variance_sharpe == pytest.approx(ratios.var(ddof=1))
    assert 1.0 < found.n_effective < found.n_choices
    (line,) = found.entries
    assert (line.run, line.name, line.n_trials) == (run.identity, "small", run.plan.n_trials)
    assert line.user
    assert line.at_ns > 0


@pytest.mark.slow
def test_ledger__is_the_same_when_a_sweep_is_divided_into_ten_runs(whole: Store, small: Any, root: Store) -> None:
    for spec in divided(small.spec):
        driven(small, root, spec)
    found = read_ledger(root, FAMILY)
    assert len(found.entries) == 10
    assert content(found) == content(read_ledger(whole, FAMILY))


@pytest.mark.parametrize("n_sampled", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_ledger__of_small_samples_is_the_same_when_a_sweep_is_divided(
    small: Any, root: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_sampled: int
) -> None:
    monkeypatch.setattr(ledger, "_n_sampled", lambda plan: n_sampled)  # as for long histories in plain Python
    parts = divided({**small.spec, "data": {"dataset": "test/small", "assets": ["AAA"]}}, 3)
    for spec in parts:
        driven(small, root, spec)
    other = small.root(tmp_path / "other")
    driven(small, other, varied(parts[0], parameters={**small.spec["parameters"], "fast": {"values": [3, 4, 5]}}))
    whole = read_ledger(other, FAMILY)
    assert whole.effective.n_sampled == n_sampled
    assert content(read_ledger(root, FAMILY)) == content(whole)


def test_ledger__is_the_same_when_a_sweep_is_renamed_and_run_twice(whole: Store, small: Any, root: Store) -> None:
    first = driven(small, root, small.spec)
    assert driven(small, root, varied(small.spec, "another")) == first
    # The same trials under another identity: another order of points, another partition.
    again = driven(small, root, varied(small.spec, objective={"metric": "cagr"}), 7)
    assert again != first
    assert content(read_ledger(root, FAMILY)) == content(read_ledger(whole, FAMILY))


def test_ledger__counts_trials_that_overlap_once(small: Any, root: Store) -> None:
    driven(small, root, divided(small.spec)[0])
    alone = read_ledger(root, FAMILY).n_trials
    driven(small, root, small.spec)
    found = read_ledger(root, FAMILY)
    assert found.n_trials == open_run(root, "small").plan.n_trials
    assert sum(line.n_trials for line in found.entries) == found.n_trials + alone


@pytest.mark.slow
def test_ledger__counts_other_costs_and_other_folds_as_other_trials(small: Any, root: Store) -> None:
    driven(small, root, small.spec)
    before = read_ledger(root, FAMILY).n_trials
    driven(small, root, varied(small.spec, execution={"slippage_bps": 2}))
    assert read_ledger(root, FAMILY).n_trials == 2 * before
    driven(small, root, varied(small.spec, folds={"method": "none"}))
    assert read_ledger(root, FAMILY).n_trials == 2 * before, "the whole period was there"
    driven(small, root, varied(small.spec, folds={"method": "holdout", "test": "30%"}))
    assert read_ledger(root, FAMILY).n_trials == 2 * before + 2 * before // 3


def test_ledger__does_not_count_what_a_search_did_not_promote(small: Any, root: Store) -> None:
    search = {"method": "halving", "initial": "grid", "rungs": 2, "eta": 4, "where": "fast < slow"}
    identity = driven(small, root, varied(small.spec, search=search, folds={"method": "none"}))
    run = open_run(root, identity)
    evaluated = int((run.state == 0).sum())
    assert evaluated < run.plan.n_trials
    assert read_ledger(root, FAMILY).n_trials == evaluated


def test_ledger__counts_failed_trials(small: Any, root: Store, strategy_file: Any) -> None:
    reference = strategy_file("if fast == 7:\n    raise ValueError('seven')\nreturn 1.0 if close > mean else 0.0")
    spec = varied(small.spec, parameters={"fast": {"start": 5, "stop": 9}}, search={})
    spec["strategy"] = {"name": reference, "plain_python": True}
    driven(small, root, spec)
    (family,) = families(root)
    assert family.strategy == "mine.py:mine"
    assert read_ledger(root, family).n_trials == 5 * 2 * 3


def test_ledger__prices_a_look_at_a_locked_holdout(small: Any, root: Store) -> None:
    folds = {"method": "holdout", "test": "25%", "locked": True}
    run = open_run(root, driven(small, root, varied(small.spec, folds=folds)))
    before = read_ledger(root, FAMILY)
    assert before.n_trials == run.plan.n_trials // 2, "the train alone"
    run.unlock("an analyst")
    after = read_ledger(root, FAMILY)
    assert after.n_trials == run.plan.n_trials
    assert after.n_effective > before.n_effective
    assert [line.looked for line in after.entries] == [False, True]


def test_choices__are_trials_on_the_whole_and_of_a_holdout_on_what_can_be_seen(small: Any, root: Store) -> None:
    def chosen(folds: dict[str, Any]) -> list[str]:
        plan = small.plan(root, varied(small.spec, folds=folds))
        return [plan.folds[index].name for index in ledger.choice_folds(plan)]

    assert chosen({"method": "none"}) == ["all"]
    assert chosen({"method": "holdout", "test": "25%"}) == ["all", "train", "test"]
    assert chosen({"method": "walk_forward", "n": 3}) == ["all"]
    assert chosen({"method": "cpcv", "groups": 4, "test_groups": 2}) == ["all"]


# -- digests ----------------------------------------------------------------------------------------------------------


def test_digests__do_not_depend_on_what_varies(small: Any, root: Store) -> None:
    whole, part = small.plan(root), small.plan(root, divided(small.spec)[2])
    ours = trial_digests(whole, point_words(whole), "AAA", (0, 600))
    theirs = trial_digests(part, point_words(part), "AAA", (0, 600))
    rows = whole.points.columns["fast"] == 5
    assert set(theirs.tolist()) == set(ours[rows].tolist())
    assert len(set(ours.tolist())) == whole.n_points
    assert not set(ours.tolist()) & set(trial_digests(whole, point_words(whole), "BBB", (0, 600)).tolist())
    assert not set(ours.tolist()) & set(trial_digests(whole, point_words(whole), "AAA", (0, 599)).tolist())


def test_digests__look_random(small: Any, root: Store) -> None:
    grid = np.arange(200_000)
    words = trial_digests(
        small.plan(root), setting_words("a", grid % 400) + setting_words("b", grid // 400), "AAA", (0, 600)
    )
    assert len(np.unique(words)) == len(words)
    for shift in range(0, 64, 8):
        counts = np.bincount(((words >> np.uint64(shift)) & np.uint64(255)).astype(np.int64), minlength=256)
        chi_square = float(np.square(counts - counts.mean()).sum() / counts.mean())
        assert 160 < chi_square < 370, f"byte {shift // 8}: 255 degrees of freedom"


def test_setting_words__know_numbers_by_value_and_words_by_text() -> None:
    whole, parts = setting_words("x", np.array([1, 2])), setting_words("x", np.array([1.0, 2.0]))
    np.testing.assert_array_equal(whole, parts)
    assert setting_words("x", np.array([0.0]))[0] == setting_words("x", np.array([-0.0]))[0]
    assert setting_words("x", np.array(["a"]))[0] != setting_words("x", np.array(["b"]))[0]
    assert setting_words("x", np.array([1]))[0] != setting_words("y", np.array([1]))[0]


# -- bytes ------------------------------------------------------------------------------------------------------------


def an_entry(n: int = 5000, seed: int = 1, shift: int = 50) -> tuple[bytes, Trials, Sample]:
    rng = np.random.default_rng(seed)
    digests = rng.integers(0, 2**64, n, dtype=np.uint64)
    trials = Trials(digests, rng.normal(size=n).astype(np.float32)).distinct()
    chosen = trials.digests[(trials.digests & CHOICE) > 0][:50]
    sample = Sample(chosen, shift, -3, rng.normal(size=(len(chosen), 40)).astype(np.float32))
    return encode_entry({"run": "r"}, trials, sample), trials, sample


def opened(data: bytes) -> Entry:
    return Entry(lambda offset, length: data[offset : offset + length], "here")


def read_all(data: bytes) -> None:
    entry = opened(data)
    entry.sample()
    list(entry.pages(0, 256))


def test_entry__reads_back_whole_and_page_by_page() -> None:
    data, trials, sample = an_entry()
    entry = opened(data)
    assert entry.n_trials == len(trials)
    for step in (1, 100, 256):
        pages = [page for start in range(0, 256, step) for page in entry.pages(start, min(start + step, 256))]
        np.testing.assert_array_equal(np.concatenate([page.digests for page in pages]), trials.digests)
        np.testing.assert_array_equal(np.concatenate([page.sharpe for page in pages]), trials.sharpe)
    np.testing.assert_array_equal(entry.sample().returns, sample.returns)
    np.testing.assert_array_equal(entry.sample().digests, sample.digests)
    assert an_entry()[0] == data


@settings(deadline=None)
@given(place=st.floats(0, 1), bit=st.integers(0, 7), cut=st.booleans())
def test_entry__notices_a_damaged_byte(place: float, bit: int, cut: bool) -> None:
    data = bytearray(an_entry(600)[0])
    at = min(int(place * len(data)), len(data) - 1)
    if cut:
        del data[at:]
    else:
        data[at] ^= 1 << bit
    with pytest.raises(CorruptError):
        read_all(bytes(data))


def test_trials__are_counted_once_and_are_choices_where_they_were_one_anywhere() -> None:
    found = Trials(np.array([9, 4, 8, 4], np.uint64), np.array([1, 2, 1, 2], np.float32)).distinct()
    assert found.digests.tolist() == [4, 9]
    assert found.sharpe.tolist() == [2.0, 1.0]


def test_sample__in_wider_buckets_sums_the_same_returns() -> None:
    sample = an_entry()[2]
    wider = sample.coarser(52)
    assert wider.shift == 52
    assert wider.first_bucket == -3 >> 2
    np.testing.assert_allclose(wider.returns.sum(axis=1), sample.returns.sum(axis=1), rtol=1e-4)
    holes = Sample(sample.digests, 50, 0, np.where(np.arange(40) < 20, np.nan, sample.returns))
    assert np.isnan(holes.coarser(51).returns[:, :10]).all()
    assert np.isfinite(holes.coarser(51).returns[:, 10:]).all()


# -- reading ----------------------------------------------------------------------------------------------------------


def test_find_family__takes_either_name_and_lists_what_there_is(whole: Store) -> None:
    for which in ("sma_cross", "test/small", "sma_cross on test/small", FAMILY.digest):
        assert find_family(whole, which) == FAMILY
    with pytest.raises(NotFoundError, match="sma_cross on test/small"):
        find_family(whole, "rsi")
    with pytest.raises(NotFoundError, match="none yet"):
        find_family(open_store(Path(str(whole.url)[7:]) / "empty"), "rsi")


def test_ledger__in_small_batches_is_the_same(whole: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tuple(whole.list("ledger/"))
    at_once = ledger_sums._counted(whole.url, keys)
    monkeypatch.setattr(ledger_sums, "_BATCH_BYTES", 12 * 20)
    assert ledger_sums._counted(whole.url, keys) == at_once


def test_ledger__remembers_what_a_set_of_entries_adds_up_to(
    small: Any, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven(small, root, small.spec)
    before = read_ledger(root, FAMILY)
    assert len(root.list("ledger-sums/")) == 1, "the driver left them"
    ledger_sums.sums.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(ledger_sums, "_counted", None)
        assert content(read_ledger(root, FAMILY)) == content(before)
    driven(small, root, varied(small.spec, execution={"slippage_bps": 2}))
    assert read_ledger(root, FAMILY).n_trials == 2 * before.n_trials


def test_ledger__without_an_entry_says_so(root: Store) -> None:
    with pytest.raises(NotFoundError, match="no trial of rsi on x"):
        read_ledger(root, Family("rsi", "x"))


# -- killed -----------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from datasets.store_file import FileStore
from sweeps.executors import serial
from sweeps.run import drive
from datasets.store import open_store

moment, root, identity = sys.argv[1:]
put = FileStore.put_new

def put_new(self, key, data):
    where = f"{self.url}/{key}"
    mine = {"commit": "manifest.json", "entry": "/ledger/"}[moment.split("-")[1]]
    if mine in where and moment.startswith("within"):
        with self._temporary(key, data[: len(data) // 2]):
            os.kill(os.getpid(), signal.SIGKILL)
    done = put(self, key, data)
    if mine in where:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

FileStore.put_new = put_new
with serial() as executor:
    drive(open_store(root), identity, executor, ttl_seconds=1.0)
"""


@pytest.mark.parametrize(
    "moment",
    ["within-commit",
     *(pytest.param(when, marks=pytest.mark.slow) for when in ("within-entry", "after-commit", "after-entry"))],
)  # fmt: skip
def test_ledger__counts_once_whenever_the_driver_is_killed(whole: Store, small: Any, root: Store, moment: str) -> None:
    identity = small.submit(root)
    command = [sys.executable, "-c", KILLED, moment, root.url, identity]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    time.sleep(1.1)  # its lease ends
    with serial() as executor:
        drive(root, identity, executor)
    assert content(read_ledger(root, FAMILY)) == content(read_ledger(whole, FAMILY))
    assert len(read_ledger(root, FAMILY).entries) == 1


class Dead(BaseException):
    """What a killed process does next: nothing."""


def die(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """Let `after` more writes succeed, and nothing at all from then on; return the keys as they are written."""
    written: list[str] = []

    def deadly(name: str) -> None:
        act = getattr(FileStore, name)

        def do(self: FileStore, key: str, *given: Any) -> Any:
            if len(written) >= after and (name.startswith("put") or written[after:] or name == "delete"):
                written.append("dead")
                raise Dead
            done = act(self, key, *given)
            if name.startswith("put"):
                written.append(key)
            return done

        monkeypatch.setattr(FileStore, name, do)

    for name in ("put_new", "put", "delete", "get", "exists"):
        deadly(name)
    return written


def forget_caches() -> None:
    ledger_sums.open_entry.cache_clear()
    ledger_sums.sums.cache_clear()


def test_ledger__counts_once_whichever_write_of_entering_is_the_last(
    small: Any, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = {"method": "holdout", "test": "25%", "locked": True}
    run = open_run(root, driven(small, root, varied(small.spec, folds=folds)))
    run.unlock("an analyst")
    expected = content(read_ledger(root, FAMILY))
    assert expected[0] == run.plan.n_trials
    kept = {key: root.get(key) for key in root.list() if "ledger" in key or "/luck/" in key}
    deaths = 0
    for after in range(20):
        for key in kept:
            root.delete(key)
        forget_caches()
        with monkeypatch.context() as patched, serial() as executor:
            written = die(patched, after)
            try:
                drive(root, run.identity, executor)
            except Dead:
                deaths += 1
        forget_caches()
        for _ in range(2):  # resumed, and once more
            with serial() as executor:
                drive(root, run.identity, executor)
            assert content(read_ledger(root, FAMILY)) == expected
        assert all(root.get(key) == data for key, data in kept.items() if "ledger-sums" not in key)
        if "dead" not in written:
            break
    assert deaths == len(written) >= 5, "its entry, that of the look, their sums, two parts of its luck"


def test_ledger__prices_a_look_whose_entry_was_lost_with_its_process(
    small: Any, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = {"method": "holdout", "test": "25%", "locked": True}
    run = open_run(root, driven(small, root, varied(small.spec, folds=folds)))
    with monkeypatch.context() as patched:
        die(patched, 1)
        with pytest.raises(Dead):
            run.unlock("an analyst")
    again = open_run(root, run.identity)
    assert not again.locked
    assert "not in the ledger yet" in again.luck(compute=False).unknown["deflated_sharpe"]
    assert again.luck().n_trials == run.plan.n_trials
