"""The only code that speaks DuckDB: one file ``audit.duckdb`` is the audit's memory."""

from cfbd_core.store.database import Database

__all__ = ["Database"]
