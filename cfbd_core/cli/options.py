"""How options are read: numbers and places, whatever was typed; and the options of the four steps.

A value that nobody can mean (23 digits, NaN, an empty path) is refused as it is read. What a setting may be, its class
says, for the app and for Python as well: :class:`~cfbd_core.config.SplitParams` and others.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfbd_core.cli.parsers import Unfit
from cfbd_core.config import GAMMA_Z_RULES, SPLIT_RULES, EmbedParams, SplitParams
from cfbd_core.sources import FORMATS, SourceOptions

if TYPE_CHECKING:
    from cfbd_core.audit.audit import Audit

Result = tuple[Mapping[str, object], str]  # what a command gives: for --json, and for people
MOST_WHOLE = 2**31 - 1
MOST_SEEDS = 1000  # that a benchmark repeats itself with


def whole(least: int = -MOST_WHOLE, most: int = MOST_WHOLE) -> Callable[[str], int]:
    """Return what reads a whole number from ``least`` to ``most``."""

    def read(text: str) -> int:
        value = int(text)
        if value < least:
            raise Unfit(f"at least {least}")
        if value > most:
            raise Unfit(f"at most {most:,}")
        return value

    read.__name__ = "int"  # as argparse calls what cannot be read at all
    return read


def number(text: str) -> float:
    """Read a number; NaN and infinity are none."""
    value = float(text)
    if not math.isfinite(value):
        raise Unfit("a finite number")
    return value


number.__name__ = "float"


def place(text: str) -> Path:
    """Read a path; an empty one, such as that of a variable that is not set, would be the working directory."""
    if not text:
        raise Unfit("a path")
    return Path(text)


SEED = whole(0, 2**32 - 1)  # numpy's


def open_audit(options: argparse.Namespace) -> Audit:
    """Open the audit of ``--audit``."""
    from cfbd_core.audit.audit import Audit

    return Audit.open(options.audit)


def add_ingest(command: argparse.ArgumentParser) -> None:
    """SOURCE and how to read it."""
    about = "a folder, a file, a glob ('shards/*.tar'), '{000..012}.tar', or several joined by ::"
    command.add_argument("source", metavar="SOURCE", help=about)
    group = command.add_argument_group("source")
    add_columns(group, "--format")
    group.add_argument("--captions", choices=("first", "all"), default="first", help="of several captions")


def add_columns(group: Any, format_option: str) -> None:
    """How to read a source: its format, and where things are."""
    group.add_argument(format_option, choices=("auto", *FORMATS), default="auto")
    group.add_argument("--image-col", metavar="C", help="column with image paths")
    group.add_argument("--caption-col", metavar="C", help="column with captions")
    group.add_argument("--label-col", metavar="C", help="column with class names")
    group.add_argument("--image-root", type=place, metavar="D", help="folder that image paths start from")


def source_options(options: argparse.Namespace, source_format: str | None = None) -> SourceOptions:
    """Return the parsed source options; ``source_format`` where ``--format`` means something else."""
    return SourceOptions(
        format=source_format or options.format,
        image_col=options.image_col,
        caption_col=options.caption_col,
        label_col=options.label_col,
        image_root=options.image_root,
        captions=options.captions,
    )


def add_embed(command: argparse.ArgumentParser) -> None:
    """The encoder and where it runs."""
    group = command.add_argument_group("embedding")
    group.add_argument(
        "--encoder",
        metavar="E",
        help="mini (default), NAME/PRETRAINED of open_clip, hf-hub:ORG/MODEL, a folder, or NAME@CHECKPOINT",
    )
    group.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 …")
    group.add_argument(
        "--batch-size", type=whole(), metavar="N", help="images a pass (default: found by itself)"
    )
    group.add_argument("--workers", type=whole(), metavar="N", help="decoding threads (default: one a core)")


def embed_params(options: argparse.Namespace) -> EmbedParams:
    """Return the parsed embedding options, validated."""
    chosen = {"workers": options.workers} if options.workers is not None else {}
    return EmbedParams(device=options.device, batch_size=options.batch_size, **chosen)


def add_score(command: argparse.ArgumentParser) -> None:
    """The mapping network."""
    group = command.add_argument_group("scores")
    group.add_argument(
        "--mapping",
        default="auto",
        metavar="F",
        help="auto (default: the encoder's own F, else self), self (trained on these pairs), or a file",
    )


def add_split(command: argparse.ArgumentParser) -> None:
    """The sliders of both stages."""
    defaults = SplitParams()
    group = command.add_argument_group("split")
    group.add_argument("--k", type=whole(), default=defaults.k, help="components of the mixture (5)")
    group.add_argument("--gamma", type=number, default=defaults.gamma, help="coverage of D_b (0.90)")
    group.add_argument("--q", type=whole(), default=defaults.q, help="pairs in D_p (50)")
    group.add_argument(
        "--gamma-z",
        default=defaults.gamma_z_rule,
        metavar="RULE|FLOAT",
        help=f"threshold of z: {', '.join(GAMMA_Z_RULES[:-1])}, or a number (auto)",
    )
    group.add_argument("--rule", choices=SPLIT_RULES, default=defaults.rule, help="how γ is read")
    group.add_argument(
        "--recheck",
        action=argparse.BooleanOptionalAction,
        default=defaults.recheck,
        help="every verdict follows z (default); --no-recheck is the published rule",
    )
    group.add_argument(
        "--collapse-duplicates",
        action="store_true",
        help="pairs whose image and caption repeat count once for the mixture, D_p and γ_z; copies get its verdict",
    )


def split_params(options: argparse.Namespace) -> SplitParams:
    """Return the parsed sliders, validated."""
    return SplitParams.with_gamma_z(
        options.gamma_z,
        k=options.k,
        gamma=options.gamma,
        q=options.q,
        rule=options.rule,
        recheck=options.recheck,
        collapse_duplicates=options.collapse_duplicates,
    )


def names_of(text: str | None) -> tuple[str, ...] | None:
    """Return the names in ``A,B``, or None where none is given."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None


def add_split_id(command: argparse.ArgumentParser) -> None:
    """Which split the audit has to hold."""
    command.add_argument(
        "--split", metavar="ID", help="refuse unless the stored verdicts are of the settings with this id"
    )
