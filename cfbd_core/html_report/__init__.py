"""One self-contained HTML file of what an audit found, to hand on: ``page`` writes it, ``drawing`` draws into it."""

from cfbd_core.html_report.page import write_html_report

__all__ = ["write_html_report"]
