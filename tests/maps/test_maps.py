from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cfbd_core.audit.audit import Audit
from cfbd_core.cli import main
from cfbd_core.cli.progress import StageBars
from cfbd_core.config import SplitParams
from cfbd_core.errors import AuditError, ParameterError
from cfbd_core.jobs.process import PROGRESS_VARIABLE
from cfbd_core.machine.files import one_job
from cfbd_core.machine.progress import no_progress
from cfbd_core.maps import layout
from cfbd_core.maps import maps as projection
from cfbd_core.maps.lasso import Lasso
from cfbd_core.maps.layout import lay_out, nearest
from cfbd_core.maps.maps import choose, load_map, make_map, weigh
from cfbd_core.maps.sprites import write_sheets
from cfbd_core.method.scores import unit_rows
from cfbd_core.pictures.picture import NO_PICTURE, Picture
from cfbd_core.pictures.place import PicturePlace
from cfbd_core.pictures.thumbnails import Thumbnail, Thumbnails
from cfbd_core.workbench.explorer import Explorer
from cfbd_core.workbench.pair_filter import PairFilter, outlined_map
from tests.toy import ToyEncoder

POISONS = (3, 17, 31, 45)


@pytest.fixture
def audit(tmp_path, toy_source) -> Audit:
    made = Audit.create(tmp_path / "audit")
    made.ingest(toy_source(60, POISONS))
    made.embed(ToyEncoder())
    made.score("self")
    made.split(SplitParams(q=5, k=1))
    return made


@pytest.fixture
def fast_layout(monkeypatch):
    """Principal components in place of UMAP: what is tested is all around it."""

    def lay_out(vectors, seed=0, progress=no_progress):
        progress("layout", 1, 1)
        return vectors[:, :2].astype(np.float32)

    monkeypatch.setattr(projection, "lay_out", lay_out)


def clusters(n: int, width: int = 24, parts: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    of = random.integers(0, parts, n)
    vectors = np.eye(parts, width)[of] * 3 + 0.3 * random.standard_normal((n, width))
    return unit_rows(vectors), of


# --- the layout ----------------------------------------------------------------------------------------


def test_neighbours_are_the_nearest_in_any_block_size(monkeypatch):
    vectors, _ = clusters(83)
    monkeypatch.setattr(layout, "BLOCK_VALUES", 83 * 7)
    told = []
    index, distance = nearest(vectors, 6, lambda *state: told.append(state))
    exact = 1 - vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(exact, -1)
    assert (index == np.argsort(exact, axis=1)[:, :6]).all()
    np.fill_diagonal(exact, 0)
    np.testing.assert_allclose(distance, np.take_along_axis(exact, index, 1), atol=1e-6)
    assert told[0] == ("neighbours", 7, 83)
    assert told[-1] == ("neighbours", 83, 83)


def test_equal_vectors_are_at_distance_nought_and_come_after_the_point_itself():
    vectors = unit_rows(np.repeat(np.random.default_rng(1).standard_normal((3, 512)), 20, axis=0))
    index, distance = nearest(vectors, 15)
    assert (index[:, 0] == np.arange(60)).all()
    assert (distance == 0).all()
    assert (index // 20 == np.arange(60)[:, None] // 20).all()


def test_clusters_stay_together_and_the_seed_decides():
    vectors, of = clusters(300)
    told = []
    xy = lay_out(vectors, seed=1, progress=lambda *state: told.append(state))
    assert xy.shape == (300, 2)
    assert xy.dtype == np.float32
    near = nearest(unit_rows(np.column_stack([xy, np.ones(300)])), 2)[0][:, 1]
    assert (of[near] == of).mean() > 0.95
    centres = np.stack([xy[of == part].mean(0) for part in range(4)])
    within = np.linalg.norm(xy - centres[of], axis=1).mean()
    assert np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(4, 1)].min() > 2 * within
    assert np.abs(np.median(xy, axis=0)).max() < 1e-5
    assert (np.abs(xy) <= 1).all(1).mean() >= 0.9
    assert told[-1] == ("layout", 500, 500)
    assert len({state for state in told if state[0] == "layout"}) > 2
    assert (lay_out(vectors, seed=1) == xy).all()
    assert (lay_out(vectors, seed=2) != xy).any()


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((40, 8)),
        np.repeat(np.random.default_rng(0).standard_normal((4, 16)), 30, axis=0),  # parts that nothing joins
        np.random.default_rng(0).standard_normal((10, 16)),
        np.vstack([np.ones((60, 8)), np.random.default_rng(0).standard_normal((20, 8))]),
        np.ones((12, 1)),
    ],
    ids=["all equal", "disconnected", "ten", "many equal", "one dimension"],
)
def test_no_shape_of_data_breaks_it(vectors):
    assert np.isfinite(lay_out(unit_rows(vectors))).all()


@pytest.mark.slow
def test_umap_is_imported_where_neither_its_folder_nor_home_can_be_written(tmp_path):
    """numba's own places are taken away, as on a read-only file system; root could write to any."""
    script = """
import os
os.access = lambda path, mode: "/umap" not in str(path)
from cfbd_core.maps.layout import let_numba_cache
let_numba_cache()
import umap
"""
    places = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "HOME": "/dev/null"}
    environment = os.environ | places | {"TMPDIR": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    environment.pop("XDG_CACHE_HOME", None)
    call = [sys.executable, "-c", script]
    subprocess.run(call, env=environment, check=True, capture_output=True)
    (cache,) = tmp_path.glob("cfbd-auditor-numba-*")
    assert list(cache.rglob("*.nbi"))
    assert cache.stat().st_mode & 0o077 == 0
    without = [sys.executable, "-c", script.replace("let_numba_cache()\n", "pass\n", 1)]
    failed = subprocess.run(without, env=environment, check=False, capture_output=True, text=True)
    assert "no locator available" in failed.stderr


def test_a_cache_that_others_can_write_to_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    planted = tmp_path / f"cfbd-auditor-numba-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    assert layout._private_folder() != planted
    planted.chmod(0o700)
    assert layout._private_folder() == planted


# --- which pairs ---------------------------------------------------------------------------------------


def test_flagged_pairs_come_first_then_the_probe_then_an_even_sample():
    flagged, probe = np.zeros(1000, bool), np.zeros(1000, bool)
    flagged[:30], probe[20:40] = True, True
    chosen = choose(flagged, probe, 100, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 100
    assert set(range(40)) <= set(chosen.tolist())
    rest = np.sort(chosen[chosen >= 40])
    assert set(np.diff(rest)) <= {16, 17}  # 960 / 60: every stratum has its share
    assert (chosen == choose(flagged, probe, 100, np.random.default_rng(0))).all()
    assert (np.sort(chosen) != np.sort(choose(flagged, probe, 100, np.random.default_rng(1)))).any()


def test_many_flagged_pairs_leave_room_for_others():
    flagged, probe = np.arange(1000) < 500, np.arange(1000) >= 990
    chosen = choose(flagged, probe, 100, np.random.default_rng(0))
    assert (chosen < 500).sum() == 80
    assert (chosen >= 990).sum() == 10
    assert len(set(chosen.tolist())) == 100
    assert np.diff(np.sort(chosen[chosen < 500])).max() <= 7
    few = choose(flagged[:20], probe[:20], 100, np.random.default_rng(0))
    assert sorted(few) == list(range(20))


def test_the_points_stand_for_all_pairs():
    flagged, probe = np.zeros(1000, bool), np.zeros(1000, bool)
    flagged[:30], probe[20:40] = True, True
    chosen = choose(flagged, probe, 100, np.random.default_rng(0))
    weights = weigh(flagged, probe, chosen)
    assert weights.sum() == pytest.approx(1000)
    assert (weights[chosen < 40] == 1).all()
    assert (weights[chosen >= 40] == 16).all()
    many = np.arange(1000) < 500
    thinned = choose(many, probe, 100, np.random.default_rng(0))
    assert weigh(many, probe, thinned)[thinned < 500] == pytest.approx(np.full(80, 500 / 80))


# --- a map ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fast_layout")
def test_a_map_holds_all_flagged_pairs_and_their_pictures(audit):
    pairs = audit.pairs()
    rows, verdicts = pairs["row"].to_pylist(), pairs["verdict"].to_pylist()
    flagged = {row for row, verdict in zip(rows, verdicts, strict=True) if verdict == "poisoned"}
    assert flagged
    told: list[tuple[str, int, int]] = []
    made = make_map(audit, "captions", points=40, progress=lambda *state: told.append(state))
    assert flagged <= set(made.rows.tolist())
    assert len(made.rows) == 40
    assert (np.diff(made.rows) > 0).all()
    texts = audit.shards.texts()[0]
    np.testing.assert_allclose(made.xy, unit_rows(texts[made.rows])[:, :2], atol=1e-6)
    assert (made.info["points"], made.info["pairs"], made.info["seed"]) == (40, 60, 0)
    assert made.info["settings_id"] == audit.files.meta("split")["settings_id"]
    assert told[-1] == ("pictures", 40, 40)
    assert (made.tile, made.columns, made.per_sheet) == (64, 32, 1024)
    with Image.open(made.sheets[0]) as sheet:
        assert sheet.size == (2048, 128)
        shown = np.asarray(sheet.convert("RGB"))
    for point in (0, 33, 39):
        image = audit.columns.pairs_at(made.rows[[point]])["image"][0].as_py()
        with Image.open(image) as picture:
            colour = np.asarray(picture).reshape(-1, 3).mean(0)
        y, x = point // 32 * 64 + 32, point % 32 * 64 + 32
        np.testing.assert_allclose(shown[y - 4 : y + 4, x - 4 : x + 4].reshape(-1, 3).mean(0), colour, atol=9)


@pytest.mark.usefixtures("fast_layout")
def test_a_decision_to_remove_puts_a_pair_on_the_map(audit):
    first = make_map(audit, "images", points=10)
    pairs = audit.pairs()
    kept = [
        (row, key)
        for row, key, final in zip(
            *(pairs[name].to_pylist() for name in ("row", "key", "final")), strict=True
        )
        if final == "kept" and row not in first.rows
    ]
    row, key = kept[0]
    audit.decide(pa.table({"key": [key], "decision": ["remove"], "note": [None]}))
    second = make_map(audit, "images", points=10)
    assert row in second.rows
    assert second.info["flagged"] == first.info["flagged"] + 1


@pytest.mark.usefixtures("fast_layout")
def test_an_outline_is_of_one_map_and_selects_nothing_once_another_is_made(audit):
    made = make_map(audit, "captions", points=40)
    preview = Explorer(audit).preview(SplitParams(q=5, k=1))
    everything = Lasso.box("captions", made.id, (-2, 2), (-2, 2))
    chosen = PairFilter(show="all", lasso=everything)
    assert preview.pairs.rows[chosen.positions(preview)].size == 40
    again = Lasso.from_text(everything.to_text())
    assert outlined_map(preview.pairs, again) is not None
    other = Lasso("captions", everything.corners)  # as links of before maps had names say it
    assert not PairFilter(show="all", lasso=other).mask(preview).any()
    make_map(audit, "captions", points=40, seed=1)
    assert not chosen.mask(preview).any()
    assert outlined_map(preview.pairs, again) is None


@pytest.mark.usefixtures("fast_layout")
def test_a_map_is_loaded_as_it_was_made_until_the_embeddings_change(audit, tmp_path):
    assert load_map(audit.folder, "captions") is None
    made = make_map(audit, "captions")
    loaded = load_map(audit.folder, "captions")
    assert loaded is not None
    assert (loaded.rows == made.rows).all()
    assert (loaded.xy == made.xy).all()
    assert loaded.weights.sum() == pytest.approx(60)
    assert (loaded.sheets, loaded.info) == (made.sheets, made.info)
    assert load_map(audit.folder, "images") is None
    shutil.copytree(audit.folder, tmp_path / "copy")
    copied = load_map(tmp_path / "copy", "captions")
    assert copied is not None
    assert copied.sheets[0].is_relative_to(tmp_path / "copy")
    shutil.rmtree(audit.shards.folder)
    assert load_map(audit.folder, "captions") is None
    audit.embed(ToyEncoder(sha256="1" * 64))
    assert load_map(audit.folder, "captions") is None


@pytest.mark.usefixtures("fast_layout")
@pytest.mark.parametrize("damage", ["map.json", "map.parquet", "sheet_0000.webp"])
def test_a_damaged_map_is_none_and_can_be_made_again(audit, damage):
    made = make_map(audit, "captions")
    folder = made.sheets[0].parent
    (folder.parent if damage == "map.json" else folder).joinpath(damage).write_text("{}")
    if damage.startswith("sheet"):
        made.sheets[0].unlink()
    assert load_map(audit.folder, "captions") is None
    assert len(make_map(audit, "captions").rows) == 60


@pytest.mark.usefixtures("fast_layout")
def test_the_map_before_stays_for_those_who_show_it_and_older_ones_go(audit, monkeypatch):
    maps = [make_map(audit, "captions", seed=seed) for seed in range(3)]
    assert [made.sheets[0].is_file() for made in maps] == [False, True, True]
    assert len({made.sheets[0] for made in maps}) == 3

    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(projection, "write_sheets", stopped)
    with pytest.raises(KeyboardInterrupt):
        make_map(audit, "captions", seed=3)
    kept = load_map(audit.folder, "captions")
    assert kept is not None
    assert kept.info == maps[2].info
    assert len([path for path in (audit.folder / "maps" / "captions").iterdir() if path.is_dir()]) == 2


def test_what_the_user_can_mend_is_told(audit, tmp_path, toy_source):
    for arguments, words in (
        (("words",), "--space words: give captions or images"),
        (("captions", 9), "--points 9: give 10 to 100,000"),
        (("captions", 200_000), "--points 200000"),
        (("captions", 50, -1), "--seed -1"),
    ):
        with pytest.raises(ParameterError, match=words):
            make_map(audit, *arguments)
    home = audit.folder / "maps" / "captions"
    home.mkdir(parents=True)
    with one_job(home, "map"), pytest.raises(AuditError, match="running"):
        make_map(audit, "captions")
    few = Audit.create(tmp_path / "few")
    few.ingest(toy_source(9, name="nine"))
    with pytest.raises(AuditError, match="run `cfbd embed` first"):
        make_map(few, "captions")
    few.embed(ToyEncoder())
    with pytest.raises(ParameterError, match="9 pairs with embeddings; a map needs 10"):
        make_map(few, "captions")


@pytest.mark.usefixtures("fast_layout")
def test_a_map_can_be_made_before_the_split_and_leaves_rows_without_a_vector_out(tmp_path, toy_source):
    audit = Audit.create(tmp_path / "a")
    audit.ingest(toy_source(20))
    audit.embed(ToyEncoder())
    path = audit.shards.image_path(0)
    vectors = np.load(path)
    vectors[4] = 0
    np.save(path, vectors)
    made = make_map(audit, "images")
    assert made.rows.tolist() == [row for row in range(20) if row != 4]
    assert made.info["settings_id"] is None


def test_missing_and_odd_pictures_are_neutral_tiles(tmp_path):
    Image.new("RGB", (400, 100), "red").save(tmp_path / "wide.png")
    held = Thumbnails(tmp_path)
    locators = [
        NO_PICTURE,
        Picture(PicturePlace(str(tmp_path / "wide.png"))),
        Picture(PicturePlace(str(tmp_path / "no"))),
    ]
    (path,) = write_sheets(tmp_path, held, locators)
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert pixels.shape == (64, 2048, 3)
    for tile in (0, 2, 3):
        assert np.abs(pixels[:, tile * 64 + 4 : tile * 64 + 60] - 225).max() < 6
    assert np.abs(pixels[28:36, 70:120] - (255, 0, 0)).max() < 12
    assert np.abs(pixels[:16, 70:120] - 225).max() < 12


def test_more_pictures_than_a_sheet_holds_go_on_in_the_next(tmp_path, monkeypatch):
    drawn = io.BytesIO()
    Image.new("RGB", (8, 8), "blue").save(drawn, "WEBP")
    held = Thumbnails(tmp_path)
    monkeypatch.setattr(held, "get", lambda asked: [Thumbnail(drawn.getvalue())] * len(asked))
    reports: list[tuple[str, int, int | None]] = []
    sheets = write_sheets(
        tmp_path, held, [Picture(PicturePlace("x"))] * 1025, lambda *report: reports.append(report)
    )
    sizes = []
    for sheet in sheets:
        with Image.open(sheet) as opened:
            sizes.append(opened.size)
    assert sizes == [(2048, 2048), (2048, 64)]
    assert reports[-1] == ("pictures", 1025, 1025)


def test_the_command_makes_a_map_with_umap_and_prints_one_json_object(audit, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv(PROGRESS_VARIABLE, str(tmp_path / "progress.json"))
    assert main(["map", "--audit", str(audit.folder), "--space", "images", "--seed", "5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["points"], result["space"], result["seed"]) == (60, "images", 5)
    assert json.loads((tmp_path / "progress.json").read_text())["stage"] == "pictures"
    made = load_map(audit.folder, "images")
    assert made is not None
    assert np.isfinite(made.xy).all()


def test_bars_follow_the_stages(monkeypatch):
    states: list[tuple[Path, dict]] = []
    monkeypatch.setenv(PROGRESS_VARIABLE, "progress.json")
    monkeypatch.setattr("cfbd_core.cli.progress.write_json", lambda to, state: states.append((to, state)))
    with StageBars({"layout": "epochs"}) as bars:
        for stage, done in (("neighbours", 5), ("neighbours", 9), ("layout", 0), ("layout", 4)):
            bars.report(stage, done, 9)
    told = [(state["stage"], state["done"], state["total"]) for _, state in states]
    assert told == [("neighbours", 0, 9), ("neighbours", 9, 9), ("layout", 0, 9), ("layout", 4, 9)]
