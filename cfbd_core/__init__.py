"""CFBD Auditor: find backdoor-poisoned image–caption pairs before a CLIP model is trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cfbd_core.errors import CfbdError

if TYPE_CHECKING:
    from cfbd_core.audit.audit import Audit
    from cfbd_core.config import SplitParams

__version__ = "0.1.0"
__all__ = ["Audit", "CfbdError", "SplitParams", "__version__"]


def __getattr__(name: str) -> Any:
    """Import Audit, and with it DuckDB and pyarrow, when first asked for.

    ``cfbd`` hears Ctrl-C from the moment on that this package is imported, if that takes no time.
    """
    if name == "Audit":
        from cfbd_core.audit.audit import Audit

        return Audit
    if name == "SplitParams":
        from cfbd_core.config import SplitParams

        return SplitParams
    raise AttributeError(name)
