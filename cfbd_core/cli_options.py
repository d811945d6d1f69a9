"""Options of the four steps; ``cfbd run`` takes all of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from cfbd_core.config import GAMMA_Z_RULES, SPLIT_RULES, EmbedParams, SplitParams
from cfbd_core.sources import FORMATS, SourceOptions


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all of ours."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2."""
        self.exit(2, f"{self.prog}: {message}; `{self.prog} --help` lists the options\n")


def add_ingest(command: argparse.ArgumentParser) -> None:
    """SOURCE and how to read it."""
    command.add_argument("source", metavar="SOURCE", help="a folder, a file or a glob ('shards/*.tar')")
    group = command.add_argument_group("source")
    add_columns(group, "--format")
    group.add_argument("--captions", choices=("first", "all"), default="first", help="of several captions")


def add_columns(group: Any, format_option: str) -> None:
    """How to read a source: its format, and where things are."""
    group.add_argument(format_option, choices=("auto", *FORMATS), default="auto")
    group.add_argument("--image-col", metavar="C", help="column with image paths")
    group.add_argument("--caption-col", metavar="C", help="column with captions")
    group.add_argument("--label-col", metavar="C", help="column with class names")
    group.add_argument("--image-root", type=Path, metavar="D", help="folder that image paths start from")


def source_options(options: argparse.Namespace, source_format: str | None = None) -> SourceOptions:
    """The parsed source options; ``source_format`` where ``--format`` means something else."""
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
    group.add_argument("--batch-size", type=int, metavar="N", help="images a pass (default: found by itself)")
    group.add_argument("--workers", type=int, metavar="N", help="decoding threads (default: one a core)")


def embed_params(options: argparse.Namespace) -> EmbedParams:
    """The parsed embedding options, validated."""
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
    group.add_argument("--k", type=int, default=defaults.k, help="components of the mixture (5)")
    group.add_argument("--gamma", type=float, default=defaults.gamma, help="coverage of D_b (0.90)")
    group.add_argument("--q", type=int, default=defaults.q, help="pairs in D_p (50)")
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
    """The parsed sliders, validated."""
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
    """The names in ``A,B``, or None where none is given."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None


def printable(text: str) -> str:
    """A hostile file name must not steer the terminal, nor make two lines of one."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
