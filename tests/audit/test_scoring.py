from __future__ import annotations

import numpy as np
import pytest

from cfbd_core.audit.scoring import EmbeddedPairs, choose_mapping, encoder_health, score_shards, without_score
from cfbd_core.embedding.mapping import Lineage, train_mapping
from cfbd_core.embedding.mapping_network import FitParams
from cfbd_core.embedding.shards import EmbeddingFolder
from cfbd_core.errors import EncoderError

N, WIDTH, SHARD = 150, 16, 40


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def pairs(tmp_path):
    """Shards of pairs whose captions lie near their images, and what the audit knows of them."""
    rng = np.random.default_rng(0)
    image = unit(rng.standard_normal((N, WIDTH)))
    text = unit(image + 0.3 * rng.standard_normal((N, WIDTH)))
    image[5] = 0
    folder = EmbeddingFolder(tmp_path / "embeddings")
    embedding = {"encoder": "toy", "sha256": "0" * 64, "width": WIDTH, "shard_size": SHARD, "rows": N}
    for number in range(-(-N // SHARD)):
        part = slice(number * SHARD, (number + 1) * SHARD)
        folder.write(number, image[part], text[part], {"pairs": SHARD, "failures": []})
    folder.write_plan(embedding)
    return folder, embedding, image, text


def test_scores_by_shards_are_those_of_the_whole(pairs, tmp_path):
    folder, embedding, image, text = pairs
    rows = np.delete(np.arange(N), [3, 77])  # skipped pairs leave gaps
    chosen = choose_mapping("self", EmbeddedPairs(folder, rows, rows, embedding), tmp_path / "f.safetensors")
    table = score_shards(EmbeddedPairs(folder, rows, rows, embedding), chosen)
    assert table["row"].to_pylist() == rows.tolist()
    from cfbd_core.method.scores import consistency_scores

    half = image[rows].astype(np.float16), text[rows].astype(np.float16)
    synthetic = chosen.mapping(half[0].astype(np.float32), rows)
    expected = consistency_scores(*half, synthetic).consistency
    np.testing.assert_allclose(
        table["consistency"].to_numpy(zero_copy_only=False), expected, rtol=1e-5, atol=1e-6
    )
    assert without_score(table, embedding)["row"].to_pylist() == [5]


def test_a_mapping_of_another_encoder_or_width_is_refused(pairs, tmp_path):
    folder, embedding, image, text = pairs
    rows = np.arange(N)
    other = train_mapping(image, text, Lineage("other", "1" * 64, "a test"), FitParams(epochs=1))
    path = tmp_path / "other.safetensors"
    other.save(path)
    with pytest.raises(EncoderError, match="belongs to encoder other"):
        choose_mapping(
            str(tmp_path / "other.safetensors"),
            EmbeddedPairs(folder, rows, rows, embedding),
            tmp_path / "kept",
        )
    ready = embedding | {"encoder": "ready", "sha256": "ready:1"}
    chosen = choose_mapping(
        str(tmp_path / "other.safetensors"), EmbeddedPairs(folder, rows, rows, ready), tmp_path / "kept"
    )
    assert chosen.kind == "file"
    with pytest.raises(EncoderError, match="width"):
        wide = ready | {"width": 2 * WIDTH}
        choose_mapping(
            str(tmp_path / "other.safetensors"), EmbeddedPairs(folder, rows, rows, wide), tmp_path / "kept"
        )


def test_the_health_check_tells_an_encoder_that_understands_from_one_that_does_not(pairs):
    folder, embedding, _, text = pairs
    rows = np.arange(N)
    good = encoder_health(EmbeddedPairs(folder, rows, rows, embedding))
    assert good["auroc"] > 0.95
    assert good["warnings"] == []
    for number in range(-(-N // SHARD)):
        part = slice(number * SHARD, (number + 1) * SHARD)
        noise = np.random.default_rng(9 + number).standard_normal(text[part].shape)
        folder.write(number, unit(noise), text[part], {"pairs": SHARD, "failures": []})
    bad = encoder_health(EmbeddedPairs(folder, rows, rows, embedding))
    assert bad["auroc"] < 0.7
    assert "hardly tells" in bad["warnings"][0]
    stand_in = encoder_health(EmbeddedPairs(folder, rows, rows, embedding | {"encoder": "mini"}))
    assert any("stand-in" in warning for warning in stand_in["warnings"])
