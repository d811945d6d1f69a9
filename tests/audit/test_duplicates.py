"""Exact duplicates of an audit: captions by what they read, images by bytes, collapsed where both repeat."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow.csv as pacsv
import pytest

from cfbd_core import Audit
from cfbd_core.audit.duplicates import collapsible, same_captions, same_images
from cfbd_core.errors import AuditError
from tests.toy import ToyEncoder


@pytest.fixture
def audit(toy_source, tmp_path) -> Audit:
    """Twelve pairs: 1 has the caption of 0, 2 its image (another file), 3 both, but for case and a space."""
    path = toy_source(12)
    table = pacsv.read_csv(path).to_pydict()
    folder = path.parent
    for row in (2, 3):
        shutil.copy(folder / table["image"][0], folder / table["image"][row])
    table["caption"][1] = table["caption"][0]
    table["caption"][3] = f" {table['caption'][0].upper()}\u200b"
    with path.open("w", encoding="utf-8") as file:
        file.write("key,image,caption\n")
        for row in range(12):
            file.write(f"{table['key'][row]},{table['image'][row]},{table['caption'][row]}\n")
    audit = Audit.create(tmp_path / "audit")
    audit.ingest(path)
    return audit


def test_captions_images_and_both(audit) -> None:
    audit.embed(ToyEncoder())
    rows = np.arange(12)
    assert [part.tolist() for part in same_captions(audit.columns, rows).largest(9)] == [[0, 1, 3]]
    assert [part.tolist() for part in same_images(audit.columns, rows).largest(9)] == [[0, 2, 3]]
    found = collapsible(audit.columns, rows)
    assert [part.tolist() for part in found.largest(9)] == [[0, 3]]
    assert np.setdiff1d(rows, found.first).tolist() == [3]
    assert collapsible(audit.columns, rows[2:]).counts()["clusters"] == 0
    with pytest.raises(AuditError, match="changed"):
        same_captions(audit.columns, np.array([3, 99]))


def test_without_hashes_images_are_the_same_by_place(audit) -> None:
    assert same_images(audit.columns, np.arange(12)).counts()["clusters"] == 0
    audit.embed(ToyEncoder())
    audit.shards.hash_path(0).unlink()
    assert same_images(audit.columns, np.arange(12)).counts()["clusters"] == 0
    assert len(same_images(audit.columns, np.empty(0, np.int64))) == 0
