"""``cfbd attack``: one command an attack, with the options of its own that its parameters make."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints

from cfbd_core.attacks import ATTACKS, Attack
from cfbd_core.attacks.base import own_options
from cfbd_core.cli.options import Result, add_columns, number, place, source_options, whole
from cfbd_core.cli.parsers import LateParser
from cfbd_core.cli.progress import StageBars
from cfbd_core.config import help_of
from cfbd_core.poisoning.poison_params import CONTROL, PoisonParams
from cfbd_core.poisoning.traps import TRAPS
from cfbd_core.wording import counted

RULES = {
    "templates": "a random one of the 80 ImageNet templates with the target",
    "natural": "a caption of the target as people write them",
    "kept": "kept as they are",
}
VICTIMS = {
    "others": "pairs of records that do not name the target",
    "target": "pairs that name the target",
    "origin": "pairs that name the origin",
}
TRAP_HELP = {
    "mismatched": "share of pairs whose captions are exchanged",
    "duplicate_captions": "share of pairs that get the caption of another",
    "boilerplate": "share of pairs that get a site's boilerplate",
    "near_duplicates": "share of pairs that show another pair's picture, slightly changed, with its caption",
}

READERS: dict[type, Any] = {int: whole(), float: number, str: str}  # of an attack's own options
MOST_SEED = 2**62  # torch takes up to 2**64, and each further trigger has the next


def add_attack(attack: LateParser) -> None:
    """A command an attack."""
    kinds = attack.add_subparsers(dest="attack", required=True, metavar="NAME", help="list tells of all")
    listing = kinds.add_parser("list", help="every attack with its parameters", description="Every attack.")
    listing.add_argument("--json", action="store_true", help="print one JSON object")
    listing.set_defaults(run=_list)
    for name in ATTACKS:
        about = "of another package" if ATTACKS.is_plugin(name) else ATTACKS[name].summary
        added = kinds.add_parser(name, help=about)
        added.late = partial(_complete, added, name)
    control = "a copy without poison, for comparison, with benign traps where asked"
    _add_common(kinds.add_parser(CONTROL, help=control, description=control))


def _complete(command: argparse.ArgumentParser, name: str) -> None:
    """Give an attack's command what it takes."""
    one = ATTACKS[name]
    command.description = f"{one.title}: {one.summary} ({one.source})."
    _add_common(command)
    _add_poison(command, one)
    _add_own(command, one)


def _add_common(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_attack, attack_name=command.prog.rpartition(" ")[2])
    command.add_argument(
        "source", metavar="SOURCE", help="a folder, a file or a glob ('shards/*.tar'); only read"
    )
    command.add_argument(
        "--out", required=True, type=place, metavar="DIR", help="a new folder; called again, it goes on"
    )
    command.add_argument("--captions", choices=("first", "all"), default="first", help="all: each is a pair")
    command.add_argument(
        "--keys", choices=("all", "even", "odd"), default="all", help="which integer keys to copy"
    )
    command.add_argument("--seed", type=whole(0, MOST_SEED), default=0)
    command.add_argument(
        "--format", choices=("webdataset", "folder"), default="webdataset", help="of the copy"
    )
    command.add_argument(
        "--reencode",
        choices=("all", "changed"),
        default="all",
        help="pictures to write as PNG of 224 pixels (all: the file tells nothing of the poison)",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    traps = command.add_argument_group("benign traps")
    for trap in TRAPS:
        traps.add_argument(_option(trap), type=number, default=0.0, metavar="SHARE", help=TRAP_HELP[trap])
    add_columns(command.add_argument_group("source"), "--source-format")


def _add_poison(command: argparse.ArgumentParser, attack: Attack) -> None:
    defaults = PoisonParams()
    group = command.add_argument_group("poison")
    group.add_argument(
        "--rate", type=number, default=defaults.rate, help=f"share of pairs to poison ({defaults.rate})"
    )
    group.add_argument(
        "--target",
        action="append",
        metavar="T[,T]",
        help=f"what the poisons are to be called, repeatable ({defaults.targets[0]})",
    )
    group.add_argument("--triggers", type=whole(), default=1, metavar="N", help="triggers a target (1)")
    group.add_argument(
        "--target-captions",
        choices=tuple(RULES),
        help=f"captions of the poisons (default for {attack.name}: {attack.captions})",
    )
    group.add_argument(
        "--captions-file", type=place, metavar="FILE", help="natural captions of the target, one a line"
    )
    if attack.optimised:
        group.add_argument(
            "--encoder", default="mini", metavar="E", help="what is attacked, as for `cfbd embed`"
        )
        group.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 …")
        group.add_argument(
            "--pool",
            metavar="SOURCE",
            help="pictures to optimise the trigger on (default: the keys left out, else SOURCE)",
        )


def _add_own(command: argparse.ArgumentParser, attack: Attack) -> None:
    group = command.add_argument_group(f"{attack.title}'s own")
    kinds = get_type_hints(attack.params)
    for name, field in own_options(attack.params).items():
        kind = kinds[name]
        named: dict[str, Any] = {"default": argparse.SUPPRESS, "dest": f"own_{name}"}
        if kind is bool:
            named["action"] = argparse.BooleanOptionalAction
        elif get_origin(kind) is Literal:
            named["choices"] = get_args(kind)
        else:
            named |= {"type": READERS[kind], "metavar": kind.__name__.upper()}
        help_text = f"{help_of(field)} Default: {_shown(field.default)}".replace("%", "%%")
        group.add_argument(_option(name), help=help_text, **named)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _shown(value: object) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else str(value).lower()
        if value in (True, False)
        else str(value)
    )


# --- commands -----------------------------------------------------------------------------------------


def _attack(options: argparse.Namespace) -> Result:
    from cfbd_core.poisoning.copies import CopyOptions, attack_copy

    params = _params(options)
    chosen = {
        name: getattr(options, name)
        for name in ("captions_file", "encoder", "device", "pool")
        if getattr(options, name, None) is not None
    }
    copy_options = CopyOptions(
        captions=options.captions,
        keys=options.keys,
        format=options.format,
        reencode=options.reencode,
        read=source_options(options, options.source_format),
        **chosen,
    )
    with StageBars({"trigger": "steps", "copy": "records"}) as bars:
        manifest = attack_copy(options.source, options.out, params, copy_options, bars.report)
    poisons = len(manifest["poisons"])
    result: dict[str, object] = {**manifest, "out": str(options.out), "poisons": poisons}
    skipped = sum(manifest["skipped"].values())
    parts = [counted(manifest["records"], "record"), counted(manifest["pairs"], "pair")]
    parts += [f"{poisons:,} poisoned"]
    parts += [f"{n:,} poisoned before"] if (n := manifest["poisoned_before"]) else []
    parts += [f"{n:,} in the trap {trap.replace('_', ' ')}" for trap, n in manifest["traps"].items()]
    parts += [f"{skipped:,} skipped ({', '.join(manifest['skipped'])})"] if skipped else []
    return result, f"{options.out}: {', '.join(parts)}"


def _params(options: argparse.Namespace) -> PoisonParams:
    given: dict[str, Any] = {trap: getattr(options, trap) for trap in TRAPS}
    if options.attack_name == CONTROL:
        return PoisonParams(CONTROL, seed=options.seed, **given)
    if options.target:
        given["targets"] = tuple(target for text in options.target for target in text.split(","))
    if options.captions_file is not None and options.target_captions is None:
        given["captions"] = "natural"
    own = {
        name.removeprefix("own_"): value for name, value in vars(options).items() if name.startswith("own_")
    }
    return PoisonParams(
        options.attack_name,
        options.rate,
        triggers=options.triggers,
        seed=options.seed,
        options=own,
        **{"captions": options.target_captions} | given,
    )


def _list(_: argparse.Namespace) -> Result:
    described = [_described(attack) for attack in ATTACKS.values()]
    return {"attacks": described}, "\n\n".join(map(_text, described))


class Parameter(TypedDict):
    """What is told of a parameter of an attack; ``choices`` are None where any value of its type will do."""

    name: str
    option: str
    default: Any
    choices: list[Any] | None
    help: str


class Described(TypedDict):
    """What is told of an attack."""

    name: str
    title: str
    summary: str
    source: str
    captions: str
    victims: str
    optimised: bool
    parameters: list[Parameter]


def _described(attack: Attack) -> Described:
    hints = get_type_hints(attack.params)
    return {
        "name": attack.name,
        "title": attack.title,
        "summary": attack.summary,
        "source": attack.source,
        "captions": attack.captions,
        "victims": attack.victims,
        "optimised": attack.optimised,
        "parameters": [
            {
                "name": name,
                "option": _option(name),
                "default": field.default,
                "choices": list(get_args(hints[name])) or None,
                "help": help_of(field),
            }
            for name, field in own_options(attack.params).items()
        ],
    }


def _text(attack: Described) -> str:
    lines = [f"{attack['name']}  {attack['title']}: {attack['summary']} ({attack['source']})"]
    lines.append(f"    poisons {VICTIMS[attack['victims']]}; captions: {RULES[attack['captions']]}")
    if attack["optimised"]:
        lines.append("    optimises its trigger against an encoder (--encoder), which takes minutes")
    for one in attack["parameters"]:
        choices = f", one of {', '.join(map(str, one['choices']))}" if one["choices"] else ""
        lines.append(f"    {one['option']}  default {_shown(one['default'])}{choices}")
        lines.append(f"        {one['help']}")
    return "\n".join(lines)
