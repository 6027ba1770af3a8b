"""Which datasets and strategies a spec may name that somebody sent from outside, checked before anything of it is used.

A spec that a person wrote on this machine may name what this account can read. One that came through a login, or that
a runner of others' requests takes from the store, names a dataset of the catalogue or below an allowed prefix, and a
strategy that is registered: its name, and the digest of its sources. The check reads the document alone: to load a
strategy is to run its code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from datasets.catalog import split_reference
from datasets.references import check_name
from datasets.store import parse_store_url
from quantbot.errors import InputError, RefusedError, TooLargeError
from quantbot.parameters import nearest
from quantbot.strategies.registry import BOOK_MODULES, MODULES

if TYPE_CHECKING:
    from datasets.store import Store
    from quantbot.strategies.loader import SourceBundle
    from sweeps.plan import Plan

MAX_TRIALS = 10_000_000
MAX_REFERENCE_BYTES = 1_024
_VERSION = re.compile(r"[0-9a-f]{1,64}")


@dataclass(frozen=True)
class Policy:
    """What a spec from outside may name and cost.

    Attributes
    ----------
    prefixes
        S3 prefixes (``s3://bucket/prefix``) whose datasets may be named, besides the store's own catalogue.
    strategies
        Of a strategy that does not ship, by its reference: the SHA-256 of its bundle (``SourceBundle.digest``).
    uploaded_code
        Whether any reference to a strategy is let through: whoever sends a spec then runs code on the workers.
    max_trials
        Of one sweep; None for those who may start any.
    """

    prefixes: tuple[str, ...] = ()
    strategies: Mapping[str, str] = field(default_factory=dict)
    uploaded_code: bool = False
    max_trials: int | None = MAX_TRIALS

    def __post_init__(self) -> None:
        for prefix in self.prefixes:
            if parse_store_url(prefix).kind != "s3":
                raise InputError(f"an allowed prefix is an S3 prefix (s3://bucket/prefix), was {prefix!r:.100}")


def admit_spec(text: str | bytes, policy: Policy) -> None:
    r"""Raise unless the spec, as TOML, names only what the policy allows.

    What is wrong with it otherwise is for `parse_spec`.

    Raises
    ------
    SpecError
        If it is larger or deeper than a spec may be, or no TOML.
    RefusedError
        If it names another dataset, scenarios elsewhere, or a strategy that is not registered.

    Examples
    --------
    >>> admit_spec('[data]\ndataset = "demo/sp500"\n[strategy]\nname = "sma_cross"', Policy())
    >>> admit_spec('[data]\ndataset = "http://169.254.169.254/latest"', Policy())
    Traceback (most recent call last):
        ...
    quantbot.errors.RefusedError: data.dataset must be a name of the catalogue (demo/sp500); this text is none
    """
    from sweeps.reading import parse_toml

    document = parse_toml(text, "spec")
    data, strategy = document.get("data"), document.get("strategy")
    if isinstance(data, Mapping):
        for name in ("dataset", "scenarios"):
            if name in data:
                admit_dataset(data[name], policy, where=f"data.{name}")
    if isinstance(strategy, Mapping) and "name" in strategy:
        admit_strategy(strategy["name"], policy)


def admit_dataset(reference: Any, policy: Policy, *, where: str = "dataset") -> None:
    """Raise `RefusedError` unless `reference` is a name of the catalogue, or a dataset below an allowed prefix.

    Nothing of a refused text is repeated: it may hold a credential.
    """
    if not isinstance(reference, str) or len(reference.encode(errors="replace")) > MAX_REFERENCE_BYTES:
        raise _no_dataset(where, policy, f"is no text of at most {MAX_REFERENCE_BYTES:,} bytes")
    try:
        at, name = split_reference(reference)
        plain, sign, version = name.partition("@")
        check_name(plain)
        if sign and not _VERSION.fullmatch(version):
            raise InputError("after @ comes the beginning of a version")
    except InputError:
        raise _no_dataset(where, policy, "is none") from None
    if at is not None and not any(_is_below(at, prefix) for prefix in policy.prefixes):
        raise _no_dataset(where, policy, "is a place elsewhere")


def admit_strategy(reference: Any, policy: Policy) -> None:
    """Raise `RefusedError` unless `reference` is a strategy that ships or is registered; nothing is imported."""
    known = (*MODULES, *BOOK_MODULES, *policy.strategies)
    if isinstance(reference, str) and (reference in known or policy.uploaded_code):
        return
    shown = repr(reference)[:80]
    near = nearest(reference, known) if isinstance(reference, str) else ""
    raise RefusedError(
        f"strategy.name must be a registered strategy ({', '.join(known)}), was {shown}{near};"
        " code of one's own is not taken from outside: ask an operator to register it"
    )


def admit_bundle(bundle: SourceBundle, policy: Policy) -> None:
    """Raise `RefusedError` unless the sources that a run carries are those registered under its strategy's name.

    Called by whoever is about to run them: what lies in a store may have been written by anybody who can write there.
    """
    from quantbot.strategies.loader import bundle as bundled

    if policy.uploaded_code:
        return
    if bundle.kind == "engine":
        # A strategy's sources under this kind would never be imported; that they are there is no mistake of ours.
        if bundle.files or bundle.entry:
            raise RefusedError("the run says that its engine decides, but carries a strategy's sources")
        return
    admit_strategy(bundle.reference, policy)
    wanted = policy.strategies.get(bundle.reference) or bundled(bundle.reference).digest
    if bundle.digest != wanted:
        raise RefusedError(
            f"the run's strategy {bundle.reference!r:.80} has sources of digest {bundle.digest[:12]}, registered is"
            f" {wanted[:12]}; submit it again with the sources that are installed here"
        )


def admit_plan(plan: Plan, policy: Policy, root: Store) -> None:
    """Raise unless the policy allows a plan: its sources, where its data lie, and its size.

    Parameters
    ----------
    root
        The store of the run; its own datasets are always allowed.
    """
    admit_bundle(plan.bundle, policy)
    admit_spec(plan.spec_toml, policy)
    if plan.dataset_root_url != root.url and not any(
        _is_below(plan.dataset_root_url, prefix) for prefix in policy.prefixes
    ):
        raise _no_dataset("the plan's dataset", policy, "is a place elsewhere")
    if policy.max_trials is not None and plan.n_trials > policy.max_trials:
        raise TooLargeError(
            f"the sweep has {plan.n_trials:,} trials, {policy.max_trials:,} are the most for its user;"
            " take coarser steps, or have an operator submit it"
        )


def _is_below(url: str, prefix: str) -> bool:
    """Return whether a store's URL is an allowed prefix or lies under one; compared part by part, never as text."""
    try:
        place, allowed = parse_store_url(url), parse_store_url(prefix)
    except InputError:
        return False
    if place.kind != "s3" or place.bucket != allowed.bucket:
        return False
    wanted = [part for part in allowed.path.split("/") if part]
    return place.path.split("/")[: len(wanted)] == wanted


def _no_dataset(where: str, policy: Policy, found: str) -> RefusedError:
    allowed = "a name of the catalogue (demo/sp500)"
    if policy.prefixes:
        allowed += f" or a dataset under {', '.join(policy.prefixes)}"
    return RefusedError(f"{where} must be {allowed}; this text {found}")
