"""What makes captions and images the same, as numbers for every pair."""

from __future__ import annotations

import duckdb
import numpy as np

# Zero-width and direction marks, soft hyphens and variation selectors: nothing that shows.
_UNSEEN = (
    r"[\x{00AD}\x{034F}\x{061C}\x{180E}\x{200B}-\x{200F}\x{202A}-\x{202E}\x{2060}-\x{2064}"
    r"\x{2066}-\x{2069}\x{FE00}-\x{FE0F}\x{FEFF}]"
)
_SPACES = r"[\s\x{0085}\p{Z}]+"


def caption_labels(connection: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, np.ndarray]:
    """Return rows int64 (n,), ascending, and labels (n,) that are equal where captions are, but for what does not show.

    That is case, spaces, Unicode composition (NFC), and marks without width. Labels are 64 bits of MD5: among ten
    million captions the chance that two different ones share a label is 3 in a million.
    """
    return _labels(
        connection,
        f"""
        SELECT row, md5_number_lower(trim(regexp_replace(
            regexp_replace(lower(nfc_normalize(caption)), '{_UNSEEN}', '', 'g'), '{_SPACES}', ' ', 'g'
        ))) AS label FROM pairs
        """,
    )


def image_labels(connection: duckdb.DuckDBPyConnection) -> tuple[np.ndarray, np.ndarray]:
    """Rows int64 (n,), ascending, and labels (n,) that are equal where images come from one place (file and offset).

    A pair without an image has a label of its own.
    """
    return _labels(
        connection,
        """
        SELECT row, md5_number_lower(CASE WHEN image IS NULL THEN 'r' || row
            ELSE 'i' || coalesce(image_offset, -1) || ' ' || image END) AS label FROM pairs
        """,
    )


def _labels(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[np.ndarray, np.ndarray]:
    columns = connection.execute(query).fetchnumpy()
    rows, labels = np.asarray(columns["row"], np.int64), np.asarray(columns["label"], np.uint64)
    order = np.argsort(rows, kind="stable")
    return rows[order], labels[order]
