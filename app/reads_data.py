"""What the Data page reads beyond the catalogue: coverage and versions; cached like everything in `app.reads`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from app import reads

if TYPE_CHECKING:
    from datasets.catalog import Version
    from datasets.changes import Change
    from datasets.coverage import Coverage
    from datasets.events import EventsDataset


def coverage(name: str, version: str, assets: Sequence[str]) -> Coverage:
    """Return where the assets of a dataset have bars."""
    return _coverage(reads.store_url(), name, version, tuple(assets))


@st.cache_resource(max_entries=16, show_spinner="Counting bars")
def _coverage(url: str, name: str, version: str, assets: tuple[str, ...]) -> Coverage:
    from datasets.coverage import coverage as count

    return count(reads.dataset(name, version), assets)


def versions(name: str) -> list[Version]:
    """Return the versions of a dataset, the one in force first."""
    from datasets.catalog import Catalog

    return Catalog(reads.store()).versions(name)


def changes(name: str, older: str, newer: str) -> tuple[Change, ...]:
    """Return what changed between two versions of a dataset."""
    return _changes(reads.store_url(), name, older, newer)


@st.cache_resource(max_entries=16, show_spinner="Comparing the versions")
def _changes(url: str, name: str, older: str, newer: str) -> tuple[Change, ...]:
    from datasets.changes import changes as compare

    return compare(reads.dataset(name, older), reads.dataset(name, newer))


def events(name: str, version: str) -> EventsDataset:
    """Return one version of a dataset of order-book events."""
    return _events(reads.store_url(), name, version)


@st.cache_resource(max_entries=32, show_spinner="Opening the dataset")
def _events(url: str, name: str, version: str) -> EventsDataset:
    from datasets.catalog import open_events
    from datasets.store import open_store

    return open_events(f"{name}@{version}", open_store(url))
