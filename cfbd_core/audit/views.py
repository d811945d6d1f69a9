"""Named views of an audit: what the app showed, to come back to."""

from __future__ import annotations

from dataclasses import dataclass

from cfbd_core.audit.files import AuditFiles
from cfbd_core.machine.files import report_in_one_line
from cfbd_core.store import views


@dataclass(frozen=True)
class SavedViews:
    """The views of an audit: parameters of an address by name, as they were saved.

    Those of a filter (:func:`cfbd_core.workbench.filter_query.to_query`) and, in views of today, of the sliders
    (:func:`cfbd_core.workbench.slider_query.to_query`).
    """

    files: AuditFiles

    def saved(self) -> dict[str, dict[str, str]]:
        """Return all views, by their names."""
        with self.files.database.reading() as connection:
            return views.saved_views(connection)

    def save(self, name: str, query: dict[str, str]) -> None:
        """Keep a view; one of this name is replaced."""
        with report_in_one_line(self.files.folder), self.files.database.writing() as connection:
            views.save_view(connection, name, query)

    def forget(self, name: str) -> None:
        """Take a view out."""
        with report_in_one_line(self.files.folder), self.files.database.writing() as connection:
            views.forget_view(connection, name)
