"""``cfbd evaluate``: its options, and what it prints."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cfbd_core.cli.options import Result, add_columns, source_options, whole
from cfbd_core.cli.progress import StageBars
from cfbd_core.errors import ParameterError
from cfbd_core.machine.places import at_home
from cfbd_core.training.place import REQUEST
from cfbd_core.wording import rounded_percentage

if TYPE_CHECKING:
    from cfbd_core.embedding.encoders import Encoder
    from cfbd_core.evaluation.classes import LabelledImages
    from cfbd_core.evaluation.evaluate import EvaluationReport, TargetReport
    from cfbd_core.evaluation.hits import HitRates, Hits, TargetHits
    from cfbd_core.evaluation.retrieval import Retrieval
    from cfbd_core.machine.progress import Progress
    from cfbd_core.poisoning.poison_params import PoisonParams

MOST_SIDE = 4096  # of a picture that gets a trigger
UNITS = {"pictures": "pictures", "triggers": "pictures", "no trigger": "pictures", "classes": "prompts"}


def add_evaluate(command: argparse.ArgumentParser) -> None:
    """A model, and what to measure it on."""
    command.set_defaults(run=_evaluate)
    command.add_argument(
        "model", metavar="RUN|ENCODER", help="the folder of a training run, or an encoder as for `cfbd embed`"
    )
    command.add_argument(
        "--classes",
        metavar="SOURCE|FILE",
        help="labelled pictures for CA; or with --images a text file, one class a line",
    )
    command.add_argument(
        "--images", metavar="SOURCE", help="the pictures, where --classes is a text file; labels are among it"
    )
    command.add_argument(
        "--attack", metavar="DIR", help="a poisoned copy's folder: ASR of its triggers on these pictures"
    )
    command.add_argument(
        "--attack-size",
        type=whole(1, MOST_SIDE),
        metavar="N",
        help="side in pixels of the pictures that get the trigger, where it is no copy's (224)",
    )
    command.add_argument(
        "--target", action="append", metavar="T", help="one of the attack's targets, repeatable (all)"
    )
    command.add_argument("--retrieval", metavar="SOURCE", help="pairs for R@1, 5 and 10, both ways")
    command.add_argument(
        "--hits", metavar="SOURCE", help="pairs for Hit@K and min-rank of mmPoison: target → origin"
    )
    command.add_argument(
        "--origin", metavar="O", help="the poisoned class of --hits (default: the attack's own)"
    )
    command.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 …")
    command.add_argument(
        "--batch-size", type=whole(1), metavar="N", help="images a pass (default: found by itself)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    pairs = command.add_argument_group("pairs of --retrieval and --hits")
    pairs.add_argument(
        "--captions", choices=("first", "all"), default="all", help="of several captions (all)"
    )
    pairs.add_argument("--keys", choices=("all", "even", "odd"), default="all", help="which integer keys")
    pairs.add_argument("--limit", type=whole(1), metavar="N", help="the first N pictures")
    add_columns(command.add_argument_group("sources"), "--format")


def _evaluate(options: argparse.Namespace) -> Result:
    if not (options.classes or options.retrieval or options.hits):
        raise ParameterError("nothing to evaluate; give --classes, --retrieval or --hits")
    for name, needed in (("images", ("classes",)), ("target", ("attack", "hits")), ("origin", ("hits",))):
        if getattr(options, name) and not any(getattr(options, other) for other in needed):
            raise ParameterError(f"--{name}: goes with {' or '.join(f'--{other}' for other in needed)}")
    if options.attack_size is not None and not options.attack:
        raise ParameterError("--attack-size: goes with --attack")
    spec = encoder_of(options.model)
    request = EvaluateRequest(options)  # refuse what is wrong before an encoder is loaded
    from cfbd_core.embedding.batch_loop import find_batch_size
    from cfbd_core.embedding.encoders import load_encoder

    encoder = load_encoder(spec, options.device)
    with StageBars(UNITS) as bars:
        figures = request.measured(encoder, options.batch_size or find_batch_size(encoder), bars.report)
    return {
        "model": options.model,
        "encoder": encoder.id,
        "sha256": encoder.sha256,
        **figures.to_dict(),
    }, _text(figures)


def encoder_of(model: str) -> str:
    """Return the encoder's specification: a training run stands for its ``model/``. Raises TrainingError without."""
    folder = at_home(model)
    if not os.path.isfile(folder / REQUEST):
        return model
    from cfbd_core.training.models import trained_folder

    return str(trained_folder(folder))


@dataclass(frozen=True)
class Evaluation:
    """What was measured, None for what was not asked for; ``skipped`` counts pictures of classes by reason."""

    classes: EvaluationReport | None = None
    skipped: tuple[tuple[str, int], ...] = ()
    attack: PoisonParams | None = None
    retrieval: Retrieval | None = None
    hits: list[TargetHits] | None = None

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values."""
        figures: dict[str, object] = {"ca": None, "asr": None, "retrieval": self.retrieval, "hits": self.hits}
        if self.classes is not None:
            figures |= {**self.classes, "skipped": dict(self.skipped)}
        if self.attack is not None:
            figures["attack"] = self.attack.to_dict()
        return figures


class EvaluateRequest:
    """What the options ask for, read and checked; it is measured once there is an encoder."""

    def __init__(self, options: argparse.Namespace) -> None:
        from cfbd_core.attacks.base import INPUT_SIZE
        from cfbd_core.evaluation.attack_success import SavedAttack
        from cfbd_core.evaluation.retrieval import read_retrieval_pairs

        self._options = options
        size = options.attack_size or INPUT_SIZE
        self.attack = SavedAttack.load(options.attack, size) if options.attack else None
        if options.attack and not (options.classes or options.hits):
            raise ParameterError("--attack: give --classes with it, for pictures to put its trigger on")
        if options.target and self.attack:
            for target in options.target:
                self.attack.numbers(target)
        self.search = self._search() if options.hits else []
        self.images = _images(options) if options.classes else None
        read = source_options(options)
        self.pairs = {
            source: read_retrieval_pairs(source, read, options.keys, options.limit)
            for source in dict.fromkeys((options.retrieval, options.hits))
            if source
        }

    def _search(self) -> list[tuple[str, str]]:
        """Return the targets and the origin of --hits."""
        options = self._options
        targets = options.target or (self.attack.params.targets if self.attack else ())
        origin = options.origin or (self.attack.origin if self.attack else None)
        if not targets or not origin:
            raise ParameterError("--hits: give --attack with a copy by mmpoison, or --target and --origin")
        return [(target, origin) for target in targets]

    def measured(self, encoder: Encoder, batch_size: int, progress: Progress) -> Evaluation:
        """Return all figures."""
        from cfbd_core.evaluation.evaluate import Evaluator
        from cfbd_core.evaluation.hits import hits, roles
        from cfbd_core.evaluation.retrieval import embedded_pairs, retrieval

        options = self._options
        classes = searches = recalled = None
        if self.images is not None:
            targets = options.target if self.attack else None
            evaluator = Evaluator(
                self.images, self.attack, targets=targets, batch_size=batch_size, progress=progress
            )
            classes = evaluator.report(encoder)
        embedded = {
            source: embedded_pairs(encoder, pairs, batch_size, progress)
            for source, pairs in self.pairs.items()
        }
        if options.retrieval:
            pairs, images, texts = embedded[options.retrieval]
            recalled = retrieval(images, texts, pairs.picture_of)
        if options.hits:
            pairs, images, texts = embedded[options.hits]
            searches = [
                _hits_of(target, origin, hits(images, texts, *roles(pairs, target, origin)))
                for target, origin in self.search
            ]
        return Evaluation(
            classes,
            self.images.skipped if self.images is not None else (),
            self.attack.params if self.attack is not None else None,
            recalled,
            searches,
        )


def _hits_of(target: str, origin: str, hits_of_target: Hits) -> TargetHits:
    return {"target": target, "origin": origin, **hits_of_target}


def _images(options: argparse.Namespace) -> LabelledImages:
    """Return the labelled pictures of --classes, or of --images with the classes of a text file."""
    from cfbd_core.evaluation.classes import labelled_images

    read = source_options(argparse.Namespace(**vars(options) | {"captions": "first"}))
    return labelled_images(options.classes, options.images, read)


# --- for people ---------------------------------------------------------------------------------------


def _text(evaluation: Evaluation) -> str:
    lines = []
    if evaluation.classes is not None and evaluation.classes["ca"] is not None:
        top5 = (
            f", top-5 {_percent(evaluation.classes['top5'])}"
            if evaluation.classes["top5"] is not None
            else ""
        )
        lines.append(
            f"CA {_percent(evaluation.classes['ca'], evaluation.classes['ca_interval'])}{top5}: "
            f"{evaluation.classes['images']:,} pictures of {evaluation.classes['classes']:,} classes"
        )
    lines += [
        _asr_line(target)
        for target in (evaluation.classes["targets"] if evaluation.classes is not None else ())
    ]
    if evaluation.retrieval is not None:
        for way, recalls in (
            ("image → text", evaluation.retrieval["image_to_text"]),
            ("text → image", evaluation.retrieval["text_to_image"]),
        ):
            shares = " / ".join(map(_percent, recalls.values()))
            lines.append(f"{way} R@1 / R@5 / R@10: {shares}")
        lines.append(
            f"    over {evaluation.retrieval['images']:,} pictures, {evaluation.retrieval['captions']:,} captions"
        )
    for one in evaluation.hits or ():
        lines.append(
            f"{one['target']} → {one['origin']}: {_hits(one)} ({one['texts']:,} texts, "
            f"{one['origin_images']:,} of {one['images']:,} pictures)"
        )
        lines += [f"    other texts: {_hits(one['base'])}"] if one["base"] else []
    return "\n".join(lines)


def _asr_line(target: TargetReport) -> str:
    name = target["target"] + (" (added to the classes)" if target["target_added"] else "")
    if target["asr"] is None:
        return f"ASR {name}: none, {target['asr_reason']}"
    base = f"; without the trigger {_percent(target['asr_base'])}" if target["asr_base"] is not None else ""
    return (
        f"ASR {name}: {_percent(target['asr'], target['asr_interval'])} "
        f"of {target['asr_images']:,} pictures{base}"
    )


def _hits(figures: HitRates) -> str:
    shares = " / ".join(map(_percent, (figures["hit@1"], figures["hit@5"], figures["hit@10"])))
    return f"Hit@1 / 5 / 10 {shares}, min-rank {figures['min_rank']:.1f}"


def _percent(share: float, interval: list[float] | None = None) -> str:
    bounds = "" if interval is None else f" (95 %: {100 * interval[0]:.1f}–{100 * interval[1]:.1f})"
    return rounded_percentage(share) + bounds
