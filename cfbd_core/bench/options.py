"""What a detection benchmark is asked to measure, and on what."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from cfbd_core.attacks import ATTACKS
from cfbd_core.bench.detection import SEEDS, Experiment, experiments
from cfbd_core.detectors import DETECTORS
from cfbd_core.errors import ParameterError
from cfbd_core.poisoning.source_pairs import Keys


@dataclass(frozen=True)
class BenchOptions:
    """What is measured, and on what.

    ``experiments`` None: all. ``mapping`` is F: ``auto`` (the encoder's own, else ``self``), ``self`` (trained anew
    on every scenario's pairs) or a file. ``targets`` (empty: the built-in ones) and ``origin`` are those of
    :func:`cfbd_core.bench.detection.experiments`; ``captions_file`` holds natural captions of the targets, one a
    line. ``pool`` is the source whose pictures optimised attacks work with.
    ``detectors`` None: all; those that are left out are not run.
    """

    captions: Literal["first", "all"] = "first"
    keys: Keys = "all"
    encoder: str = "mini"
    mapping: str = "auto"
    attacks: tuple[str, ...] = field(default_factory=lambda: tuple(ATTACKS))
    experiments: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = SEEDS
    targets: tuple[str, ...] = ()
    origin: str | None = None
    captions_file: Path | None = None
    pool: str | None = None
    detectors: tuple[str, ...] | None = None

    def chosen(self) -> list[Experiment]:
        """Return the experiments asked for.

        Raises ParameterError for a name that is not known, and where they have no scenario of these attacks.
        """
        every = experiments(self.seeds, self.attacks, self.targets, self.origin)
        names = tuple(dict.fromkeys(self.experiments or every))
        unknown = sorted(set(names) - set(every))
        if unknown:
            raise ParameterError(f"--only {unknown[0]!r}: give some of {', '.join(every)}")
        chosen = [self._without_others(every[name]) for name in names]
        if not any(experiment.scenarios for experiment in chosen):
            raise ParameterError(
                f"--only {','.join(names)}: has no scenario of {', '.join(self.attacks)}; give other --attacks"
            )
        return chosen

    def _without_others(self, experiment: Experiment) -> Experiment:
        """Return the experiment with the detectors asked for alone. Raises ParameterError for one that is not known."""
        if self.detectors is None:
            return experiment
        known = [name for name, detector in DETECTORS.items() if not detector.trains]
        unknown = sorted(set(self.detectors) - set(known))
        if unknown:
            raise ParameterError(f"--detectors {unknown[0]!r}: give some of {', '.join(known)}")
        wanted = {f"detector {name}" for name in self.detectors}
        left = tuple(one for one in experiment.analyses if one in wanted or not one.startswith("detector "))
        return replace(experiment, analyses=left)
