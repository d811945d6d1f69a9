"""Every export in the hands of those who read it: open_clip's loaders, Hugging Face ``datasets``, pandas.

They are called by the words of the sidecar, from its folder.
"""

from __future__ import annotations

import json
import logging
import shlex
import tarfile
from pathlib import Path
from typing import Any

import pandas
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cfbd_core.export import COLUMNS, export
from cfbd_core.export import webdataset as writer
from cfbd_core.export.cells import MISSING
from tests.export.made import batches, number_of, pair, picture

KINDS = {
    "jpg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tif": "TIFF",
    "avif": "AVIF",
    "jp2": "JPEG2000",
    "ppm": "PPM",
    "ico": "ICO",
}
LOADED = ("jpg", "png", "webp")
ODD_TEXTS = (
    "NA",
    "None",
    "null",
    "nan",
    "N/A",
    "a dog",
    'say "hi", he said',
    "a\rb",
    "a\r\nb",
    "two\nlines",
    " lead",
    "trail ",
    "\ttab",
    "007",
    "TRUE",
    "1e5",
    "=1+1",
    "مرحبا",
    "\u2028",
    "\ufeffmark",
    "a,b;c",
    "\\n",
    '"',
    "x" * 70_000,
)
ODD_KEYS = (
    "__hidden",
    ".dot",
    "a.b",
    "a/b",
    "a%2Eb",
    "00/01.x",
    "Ünï",
    "a b",
    "UPPER.JPG",
    "y" * 300,
    "__",
    "a\nb",
)


@pytest.fixture
def open_clip_reads(monkeypatch):
    """Return a function: the pairs, as (number shown, text), that open_clip loads with a sidecar's flags."""
    from cfbd_core.embedding.torchvision_compat import import_torchvision

    import_torchvision()
    data = pytest.importorskip("open_clip_train.data")
    params = pytest.importorskip("open_clip_train.params")

    def tokens(texts: Any) -> list[str]:
        return [texts] if isinstance(texts, str) else list(texts)

    def load(folder: Path, record: dict[str, Any]) -> list[tuple[int, str]]:
        monkeypatch.chdir(folder)
        args = params.parse_args([*shlex.split(record["open_clip"]), "--batch-size", "1"])
        args.distributed, args.world_size = False, 1
        if args.dataset_type == "csv":
            args.workers = 0
        loader = data.get_data(args, (number_of, number_of), tokenizer=tokens)["train"].dataloader
        return sorted((int(number[0]), text[0]) for number, text in loader)

    return load


@pytest.fixture
def read_as_told(tmp_path, monkeypatch):
    """Return a function that reads an export from its folder by its sidecar's words for ``pandas`` or ``datasets``."""

    def read(folder: Path, record: dict[str, Any], name: str) -> Any:
        names: dict[str, Any] = {"pandas": pandas}
        if name == "datasets":
            names["datasets"] = datasets = pytest.importorskip("datasets")
            datasets.disable_progress_bars()
            monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
            monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
        monkeypatch.chdir(folder)
        return eval(record[name], names)  # the words of our own sidecar

    return read


@pytest.fixture
def odd_pairs(tmp_path) -> list[dict[str, Any]]:
    """Pairs with odd captions, each with a picture of its own file."""
    (tmp_path / "source").mkdir()
    rows = []
    for number, text in enumerate(ODD_TEXTS):
        file = tmp_path / "source" / f"{number:02d}.png"
        file.write_bytes(picture(number % 12))
        rows.append(pair(f"{number:02d}", file, text, consistency=number / 100))
    return rows


@pytest.fixture
def of_every_kind(tmp_path) -> list[dict[str, Any]]:
    """Pairs with odd keys and a picture of every format, none of whose facts the first record has."""
    (tmp_path / "kinds").mkdir()
    rows = []
    for number, key in enumerate(ODD_KEYS):
        ending, kind = list(KINDS.items())[number % len(KINDS)]
        file = tmp_path / "kinds" / f"{number:02d}.{ending}"
        file.write_bytes(picture(number, kind))
        known = {"z": 0.5, "consistency": 1.0, "poisoned": True, "label": "dog", "note": "seen"}
        rows.append(pair(key, file, f"about {number}", **(known if number > 3 else {})))
    return rows


def write(rows, out: Path, kind="csv", **style) -> dict[str, Any]:
    return export(batches(rows), out, kind, {}, **style)


def wanted(rows) -> list[tuple[int, str]]:
    return sorted((number_of(Image.open(row["image"])), row["caption"]) for row in rows)


# --- open_clip -----------------------------------------------------------------------------------------


def test_open_clip_loads_a_csv_but_for_the_captions_that_are_told(tmp_path, odd_pairs, open_clip_reads):
    record = write(odd_pairs, tmp_path / "out.csv")
    found, right = open_clip_reads(tmp_path, record), wanted(odd_pairs)
    assert len(found) == len(right)
    assert [text for number, text in right if (number, text) not in found] == ["NA", "None", "null", "N/A"]
    assert found.count((3, "nan")) == 1  # by luck
    assert record["captions_not_text_to_pandas"] == 5
    (told,) = record["warnings"]
    assert "5 captions are missing values (nan) to pandas" in told
    assert "'NA', 'None', 'null'" in told
    assert "--pandas-safe" in told


def test_open_clip_loads_all_of_a_csv_that_is_pandas_safe(tmp_path, odd_pairs, open_clip_reads):
    record = write(odd_pairs, tmp_path / "out.csv", pandas_safe=True)
    found = [(number, text.strip()) for number, text in open_clip_reads(tmp_path, record)]
    assert sorted(found) == sorted((number, text.strip()) for number, text in wanted(odd_pairs))
    assert (record["captions_not_text_to_pandas"], record["warnings"]) == (0, [])


@pytest.mark.parametrize("texts", [("007", "1e5"), ("TRUE", "false"), ("1", "NA")])
def test_captions_that_are_all_numbers_are_told_and_can_be_kept(
    tmp_path, picture_file, open_clip_reads, texts
):
    rows = [pair(str(at), picture_file, text) for at, text in enumerate(texts)]
    record = write(rows, tmp_path / "out.csv")
    assert [text for _, text in open_clip_reads(tmp_path, record)] != sorted(texts)
    assert any("numbers, of which pandas may write some otherwise" in told for told in record["warnings"])
    record = write(rows, tmp_path / "safe.csv", pandas_safe=True)
    assert [text.strip() for _, text in open_clip_reads(tmp_path, record)] == sorted(texts)
    assert record["warnings"] == []


def test_open_clip_makes_the_same_tokens_of_a_pandas_safe_caption():
    from cfbd_core.embedding.torchvision_compat import import_torchvision

    import_torchvision()
    from open_clip.tokenizer import SimpleTokenizer

    from cfbd_core.export.cells import NO_BREAK_SPACE

    texts = ["NA", "007", "TRUE", "1e5"]
    for clean in ("lower", "canonicalize", "whitespace"):
        tokens = SimpleTokenizer(clean=clean)
        assert (tokens(texts) == tokens([NO_BREAK_SPACE + text for text in texts])).all()


def test_open_clip_loads_every_pair_of_a_webdataset(
    tmp_path, of_every_kind, open_clip_reads, monkeypatch, caplog
):
    monkeypatch.setattr(writer, "PAIRS_PER_TAR", 5)
    rows = [*of_every_kind, pair("bare", None, "without a picture")]
    record = write(rows, tmp_path / "out", "webdataset")
    assert "'out/{00000..00002}.tar' --train-num-samples 12 --workers 3" in record["open_clip"]
    record["open_clip"] = record["open_clip"].replace(
        "--workers 3", "--workers 1"
    )  # each fills up its last batch
    with caplog.at_level(logging.WARNING):
        assert open_clip_reads(tmp_path, record) == wanted(of_every_kind)
    assert record["pictures"]["reencoded"] == dict.fromkeys(KINDS.keys() - set(LOADED), 1)
    assert record["pictures"]["formats"]["gif"] == 1
    assert any(
        told.startswith("7 pictures are written as PNG (1 avif, 1 bmp, 1 gif") for told in record["warnings"]
    )
    assert "1 pair is without a picture, in tars of their own" in record["warnings"][0]


def test_relative_paths_hold_where_the_file_and_its_pictures_go_together(
    tmp_path, odd_pairs, open_clip_reads
):
    for row in odd_pairs[:3]:
        row["caption"] = "a text"
    record = write(odd_pairs[:3], tmp_path / "source" / "lists" / "out.csv", relative_paths=True)
    (tmp_path / "source").rename(tmp_path / "elsewhere")
    assert record["paths"] == "relative to the folder that this file is in"
    assert [number for number, _ in open_clip_reads(tmp_path / "elsewhere" / "lists", record)] == [0, 1, 2]


def test_names_that_a_shell_or_a_loader_would_read_otherwise(
    tmp_path, picture_file, open_clip_reads, read_as_told
):
    rows = [pair("k", picture_file, "a text")]
    for name in ("-a b'c", "a:b", "[x]*", "a{b"):
        record = write(rows, tmp_path / f"{name}.csv")
        assert len(open_clip_reads(tmp_path, record)) == 1
        assert read_as_told(tmp_path, record, "datasets")["caption"] == ["a text"]
        record = write(rows, tmp_path / name, "webdataset")
        assert read_as_told(tmp_path, record, "datasets")["txt"] == ["a text"]
        if "{" in name:
            assert record["open_clip"] is None
            assert "rename it" in record["warnings"][0]
        else:
            assert len(open_clip_reads(tmp_path, record)) == 1


# --- Hugging Face datasets, pandas ---------------------------------------------------------------------


def test_datasets_loads_every_pair_of_a_webdataset(tmp_path, of_every_kind, read_as_told, monkeypatch):
    monkeypatch.setattr(writer, "PAIRS_PER_TAR", 5)
    bare = pair("bare", None, "without a picture", z=0.25)
    record = write([bare, *of_every_kind], tmp_path / "out", "webdataset")
    loaded = read_as_told(tmp_path, record, "datasets")
    (ending,) = set(KINDS) & set(loaded.features)
    found = {row["json"]["key"]: row for row in loaded}
    assert len(loaded) == len(found) == len(of_every_kind) + 1
    for row in of_every_kind:
        held = found[row["key"]]
        assert number_of(held[ending]) == number_of(Image.open(row["image"]))
        assert held["txt"] == held["json"]["caption"] == row["caption"]
        assert held["json"]["label"] == row.get("label", "")
        for name in ("z", "consistency", "poisoned"):
            assert held["json"][name] == row.get(name)
        assert held["json"]["picture_format"] == Path(row["image"]).suffix[1:]
    assert found["bare"][ending] is None
    assert found["bare"]["json"]["z"] == 0.25


def test_what_the_first_records_lack_and_later_ones_have_is_told(tmp_path, picture_file):
    rows = [pair(str(at), picture_file, "a text") for at in range(5)]
    rows += [pair("5", picture_file, "b", poisoned=False)]
    record = export(batches(rows, 2), tmp_path / "out", "webdataset", {})
    assert record["warnings"][0].startswith("poisoned: unknown in the first records and known in later ones")
    assert export(batches(rows, 6), tmp_path / "all", "webdataset", {})["warnings"] == []


@pytest.mark.parametrize("name", ["pandas", "datasets"])
def test_tables_are_read_by_the_words_of_their_sidecars(tmp_path, odd_pairs, read_as_told, name):
    odd_pairs[-1] |= {"label": "dog", "poisoned": True, "z": 0.5}  # null in all rows before
    texts, keys = list(ODD_TEXTS), [row["key"] for row in odd_pairs]
    for kind in ("csv", "parquet"):
        record = write(odd_pairs, tmp_path / f"out.{kind}", kind)
        table = read_as_told(tmp_path, record, name)
        assert list(table["caption"]) == texts
        assert list(table["key"]) == keys
        assert list(table["label"])[-1] == "dog"
        assert float(list(table["z"])[-1]) == 0.5
        if (name, kind) == ("datasets", "parquet"):
            assert number_of(table[3]["image"]) == 3


@pytest.mark.parametrize("rows", [0, 1])
def test_the_columns_of_a_parquet_have_the_same_types_whatever_they_hold(tmp_path, picture_file, rows):
    record = write([pair("k", picture_file, "a text")] * rows, tmp_path / "out.parquet", "parquet")
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert schema.names == list(COLUMNS)
    kinds = {name: str(schema.field(name).type) for name in ("key", "z", "poisoned")}
    assert kinds == {"key": "string", "z": "float", "poisoned": "bool"}
    assert record["warnings"] == ([] if rows else ["no pairs: the export is empty"])


def test_what_pandas_takes_for_missing_is_what_we_say():
    from pandas._libs.parsers import STR_NA_VALUES

    assert set(MISSING) == STR_NA_VALUES


# --- read back equal -----------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@given(made=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6, unique_by=lambda one: one[0]))
def test_parquet_and_webdataset_read_back_equal(tmp_path_factory, made):
    folder = tmp_path_factory.mktemp("back")
    (folder / "p.png").write_bytes(picture(3))
    rows = [pair(key, folder / "p.png", caption) for key, caption in made]
    write(rows, folder / "out.parquet", "parquet")
    table = pq.read_table(folder / "out.parquet")
    assert list(zip(table["key"].to_pylist(), table["caption"].to_pylist(), strict=True)) == made
    write(rows, folder / "out", "webdataset")
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(folder / "out" / "00000.tar") as tar:
        for member in tar:
            stem, _, ending = member.name.partition(".")
            found.setdefault(stem, {})[ending] = tar.extractfile(member).read()
    held = [(json.loads(one["json"]), one["txt"].decode(), one["png"]) for one in found.values()]
    assert [(facts["key"], text) for facts, text, _ in held] == made
    assert all(facts["caption"] == text and data == picture(3) for facts, text, data in held)
