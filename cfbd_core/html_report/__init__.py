"""One self-contained HTML file of what an audit found, to hand on: ``page`` writes it, ``drawing`` draws into it."""

from cfbd_core.html_report.page import check_place, write_html_report

__all__ = ["check_place", "write_html_report"]
