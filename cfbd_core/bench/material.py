"""What a benchmark is measured on, opened and checked while nothing is written yet."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict

import numpy as np
from PIL import Image

from cfbd_core.attacks import ATTACKS
from cfbd_core.audit.scoring import MAPPING_NAME, SELF_FOLDS
from cfbd_core.bench.analyses import RESULTS_VERSION
from cfbd_core.bench.detection import TARGET
from cfbd_core.bench.options import BenchOptions
from cfbd_core.config import SplitParams
from cfbd_core.embedding.encoder_files import check_published_hash, file_sha256
from cfbd_core.embedding.encoders import Encoder
from cfbd_core.embedding.mapping import MIN_IMAGES, Lineage, Mapping, mean_targets, train_mapping
from cfbd_core.embedding.mapping_network import FitParams
from cfbd_core.errors import ParameterError, SourceError
from cfbd_core.machine.assets import MINI_DIR
from cfbd_core.machine.places import at_home
from cfbd_core.poisoning.captions import names, read_captions
from cfbd_core.poisoning.plan import Plan, PoisonParams, make_plan
from cfbd_core.poisoning.poison_params import CONTROL
from cfbd_core.poisoning.source_pairs import SourcePairs, picture_pool, read_pairs
from cfbd_core.sources import SourceOptions

Pictures = Callable[[int], Sequence[Image.Image]]


@dataclass(frozen=True)
class Material:
    """A source's pairs that are not known to be poisoned, and what a user gave beside it.

    ``pool(n)`` gives at most n pictures to optimise triggers on; ``pool_pairs`` are those of a source given for it.
    """

    source: str
    options: BenchOptions
    pairs: SourcePairs
    given: GivenCaptions
    pool: Pictures
    pool_pairs: SourcePairs | None

    @classmethod
    def read(cls, source: str, options: BenchOptions) -> Material:
        """Read the source, the pool and the captions file.

        Raises SourceError (nothing to read, no pictures, keys that are not numbers) and ParameterError (too few
        pairs, a captions file that cannot be read).
        """
        given = GivenCaptions.read(options)  # refuses a bad file before all is read
        every = read_pairs(source, SourceOptions(captions=options.captions), options.keys)
        pairs = _not_poisoned(every)
        least = max(SplitParams().q, SplitParams().k)
        if pairs.table.num_rows < least:
            raise ParameterError(
                f"{source}: {pairs.table.num_rows} pairs that are not known to be poisoned are too few to split "
                f"(at least {least}); give a larger source"
            )
        if not picture_pool(pairs.places(), seed=0)(1):
            raise SourceError(f"{source}: not one picture can be read; is the image column the right one?")
        pool_pairs = None if options.pool is None else read_pairs(options.pool, SourceOptions())
        places = pairs.left_out or pairs.places() if pool_pairs is None else pool_pairs.places()
        return cls(source, options, pairs, given, picture_pool(places, seed=0), pool_pairs)

    @cached_property
    def captions(self) -> list[str]:
        """The pairs' captions."""
        captions: list[str] = self.pairs.table["caption"].to_pylist()
        return captions

    def plan(self, params: PoisonParams) -> Plan:
        """Return what a scenario would do to the pairs, if every picture can be read. Raises ParameterError."""
        return make_plan(self.captions, self.pairs.image_of, params, self.given(params))

    def about(self, encoder: Encoder, mappings: Mappings) -> AboutPairs:
        """Return all that decides the cells besides a scenario's parameters, as plain JSON values."""
        file = self.options.captions_file
        return {
            "results_version": RESULTS_VERSION,
            "source": Path(os.path.abspath(self.source)).name,
            "source_fingerprint": self.pairs.fingerprint,
            "captions": self.options.captions,
            "keys": self.options.keys,
            "pairs": self.pairs.table.num_rows,
            "encoder_sha256": encoder.sha256,
            "encoder_architecture": encoder.architecture,
            "mapping_sha256": mappings.sha256,
            "pool_fingerprint": None if self.pool_pairs is None else self.pool_pairs.fingerprint,
            "captions_file_sha256": None if file is None else file_sha256(file),
            "captions_file_targets": None if file is None else self.given.targets,
        }


class AboutPairs(TypedDict):
    """All that decides the cells of a benchmark besides a scenario's parameters."""

    results_version: int
    source: str
    source_fingerprint: str
    captions: str
    keys: str
    pairs: int
    encoder_sha256: str
    encoder_architecture: str
    mapping_sha256: str | None
    pool_fingerprint: str | None
    captions_file_sha256: str | None
    captions_file_targets: list[str] | None


class GivenCaptions:
    """Natural captions that a user gave for ``targets``; scenarios of other targets keep ours."""

    def __init__(self, captions: Sequence[str], targets: Sequence[str]) -> None:
        self._captions, self._targets = captions, {target.lower() for target in targets}

    @property
    def targets(self) -> list[str]:
        """What the captions are given for, in lower case."""
        return sorted(self._targets)

    @classmethod
    def read(cls, options: BenchOptions) -> GivenCaptions:
        """Read the captions file, if there is one. Raises ParameterError."""
        captions = [] if options.captions_file is None else read_captions(options.captions_file)
        return cls(captions, PoisonParams(targets=options.targets or (TARGET,)).targets)

    def __call__(self, params: PoisonParams) -> Sequence[str] | None:
        """Return the captions of a scenario's targets, or None where ours are meant.

        Raises ParameterError where several targets were given and none of the captions names this one.
        """
        if not self._captions or not {target.lower() for target in params.targets} <= self._targets:
            return None
        if params.attack == CONTROL or (params.captions or ATTACKS[params.attack].captions) != "natural":
            return None
        if len(self._targets) == 1:
            return self._captions
        patterns = [names(target) for target in params.targets]
        matches = [text for text in self._captions if any(pattern.search(text) for pattern in patterns)]
        if not matches:
            raise ParameterError(
                f"none of the {len(self._captions)} captions given names {' or '.join(params.targets)}; "
                "add some that do"
            )
        return matches


class Mappings:
    """F for a scenario's embeddings: one file for all, or trained on each.

    ``sha256`` is the file's, or "self". Raises EncoderError for a file that is no F of this encoder.
    """

    def __init__(self, spec: str, encoder: Encoder) -> None:
        self._encoder = encoder
        self._fixed: Mapping | None = None
        self.sha256 = "self"
        if spec == "self" or (spec == "auto" and encoder.id != "mini"):
            return
        path = MINI_DIR / MAPPING_NAME if spec == "auto" else at_home(spec)
        self._fixed = Mapping.load(path, encoder.sha256)
        self.sha256 = file_sha256(path)
        if spec == "auto":
            check_published_hash(path, self.sha256)

    def check_enough(self, image_of: np.ndarray) -> None:
        """Raise ParameterError where F has to be trained on the pairs, and they show too few pictures."""
        images = len(np.unique(image_of))
        if self._fixed is None and images < MIN_IMAGES:
            raise ParameterError(
                f"--mapping self: {images} pictures are too few to train F on (at least {MIN_IMAGES}); "
                "give --mapping FILE or a larger source"
            )

    def __call__(self, image: np.ndarray, text: np.ndarray, record_of: np.ndarray) -> Mapping:
        """Return F for embeddings (n, d) of pictures and captions; ``record_of`` (n,) numbers the pictures."""
        if self._fixed is not None:
            return self._fixed
        ids, target = mean_targets(text, record_of)
        _, first = np.unique(record_of, return_index=True)
        lineage = Lineage(self._encoder.id, self._encoder.sha256, trained_on="self")
        params = FitParams(SELF_FOLDS, device=self._encoder.device)
        return train_mapping(image[first].astype(np.float32), target, lineage, params, groups=ids)


def _not_poisoned(pairs: SourcePairs) -> SourcePairs:
    """Return the pairs whose truth does not say that they are poisoned."""
    poisoned = pairs.table["poisoned"].fill_null(False).to_numpy()
    keep = np.flatnonzero(~poisoned)
    return dataclasses.replace(
        pairs,
        table=pairs.table.take(keep),
        record_of=pairs.record_of[keep],
        number=pairs.number[keep],
        image_of=pairs.image_of[keep],
    )
