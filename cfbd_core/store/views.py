"""Named views of the pairs: a filter and the sliders as an address, by name, kept in the audit for everyone."""

from __future__ import annotations

import duckdb

from cfbd_core.store.meta import VIEWS
from cfbd_core.store.queries import derived_meta, set_meta


def saved_views(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """Every view's parameters by its name, in the order in which they were saved; none where they are damaged."""
    return derived_meta(connection, VIEWS).value or {}


def save_view(connection: duckdb.DuckDBPyConnection, name: str, query: dict[str, str]) -> None:
    """Keep a view; one of this name is replaced."""
    set_meta(connection, VIEWS, saved_views(connection) | {name: query})


def forget_view(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Take a view out; nothing happens where there is none."""
    views = saved_views(connection)
    if views.pop(name, None) is not None:
        set_meta(connection, VIEWS, views)
