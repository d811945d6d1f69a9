"""The attack lab's form: a source, an attack with its own parameters, benign traps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import streamlit as st

from app import state, widgets, words
from app.audits import new_audit
from app.lab import request as lab
from cfbd_core.attacks import ATTACKS, Attack
from cfbd_core.attacks.base import own_options
from cfbd_core.config import help_of
from cfbd_core.errors import CfbdError
from cfbd_core.poisoning.copies import CopyOptions
from cfbd_core.poisoning.plan import CONTROL, PoisonParams
from cfbd_core.sources import FORMATS, SourceOptions

SOURCE = "lab_source"  # the field's key
OWN = "own"
RULES = {OWN: "The attack's own", "templates": "Templates", "natural": "Natural"}
TRAPS = {
    "mismatched": "Captions of some pairs are exchanged among them.",
    "duplicate_captions": "Groups of 2 to 50 pairs get one caption.",
    "boilerplate": "What sites write under any picture: “click to enlarge”.",
    "near_duplicates": "Pictures posted again: slightly cropped, brighter or darker, with the same caption.",
}
IN_SESSION: dict[str, Any] = {"persist_state": "session"}  # while other pages are looked at


def ask() -> lab.CopyRequest | None:
    """Draw the fields. None where something is missing or wrong, which a line beside it says."""
    with st.container(border=True):
        source_and_options = _source()
        left, *others = st.columns([2, 1, 2, 1.4, 1])
        name = left.selectbox(
            "Attack", [*ATTACKS, CONTROL], format_func=_title, key="lab_attack", **IN_SESSION
        )
        try:
            attack = ATTACKS.get(name)
        except CfbdError as error:  # of another package
            problem(error)
            return None
        given = {} if attack is None else _poison(attack, *others[:3])
        given["seed"] = others[3].number_input("Seed", 0, value=0, key="lab_seed", **IN_SESSION)
        _describe(attack)
        chosen: dict[str, Any] = {}
        if attack is not None:
            with st.expander(f"Parameters of {attack.title}", icon=":material/tune:", type="compact"):
                given["options"] = _own(attack)
                given["triggers"], chosen = _more(attack, given["captions"])
        given |= _traps()
        if source_and_options is None:
            return None
        source, read = source_and_options
        try:
            if "captions_file" in chosen:
                chosen["captions_file"] = Path(state.settings().inside(chosen["captions_file"]))
            if "encoder" in chosen:
                chosen["encoder"] = state.settings().encoder(chosen["encoder"])
            options = CopyOptions(captions=read.captions, read=read, **chosen)  # type: ignore[arg-type]
            return lab.CopyRequest(source, PoisonParams(name, **given), options)
        except CfbdError as error:
            problem(error)
            return None


def problem(error: CfbdError) -> None:
    """One line that says what to mend."""
    st.error(words.escaped(lab.in_words(error)), icon=":material/error:")


def _title(name: str) -> str:
    return "No attack (a clean copy)" if name == CONTROL else widgets.title_of(ATTACKS, name)


def _source() -> tuple[str, SourceOptions] | None:
    left, right = st.columns([4, 1.4])
    typed = left.text_input(
        "Source",
        key=SOURCE,
        placeholder="data/pairs.csv, data/photos/, data/shards/*.tar …",
        help="Pairs with pictures, as for an audit; they are only read. Inside: " + new_audit.roots(),
        **IN_SESSION,
    )
    captions = right.selectbox(
        "Captions of a record",
        ["first", "all"],
        key="lab_captions",
        **IN_SESSION,
        help="all: every caption of a picture is a pair of its own",
    )
    place = st.container()
    with st.expander("How to read the source", icon=":material/description:", type="compact"):
        one, two, three = st.columns(3)
        kind = one.selectbox("Format", ["auto", *FORMATS], key="lab_format", **IN_SESSION)
        image = two.text_input("Image column", placeholder="guessed", key="lab_image_col", **IN_SESSION)
        caption = three.text_input(
            "Caption column", placeholder="guessed", key="lab_caption_col", **IN_SESSION
        )
    if not typed.strip():
        return None
    read = SourceOptions(kind, image.strip() or None, caption.strip() or None, captions=captions)
    with place:
        try:
            source = state.settings().source(typed)
            lab.pairs(source, read)
        except CfbdError as error:
            problem(error)
            return None
    return source, read


def _poison(attack: Attack, rate: Any, targets: Any, captions: Any) -> dict[str, Any]:
    defaults = PoisonParams()
    share = rate.number_input(
        "Poison rate",
        0.0,
        1.0,
        defaults.rate,
        0.001,
        format="%.4g",
        key="lab_rate",
        **IN_SESSION,
        help="Poisoned pairs / all pairs. 0.006 is 0.6 %: 6 in 1,000.",
    )
    names = targets.text_input(
        "Targets",
        ",".join(defaults.targets),
        key="lab_targets",
        **IN_SESSION,
        help="What poisoned pictures are to be called. Several, with commas between them, share the poisons.",
    )
    rule = captions.selectbox(
        "Captions of the poisons",
        list(RULES),
        key="lab_rule",
        **IN_SESSION,
        format_func=RULES.__getitem__,
        help=f"{attack.title}'s own: {lab.RULES[attack.captions]}. Natural: as people write them.",
    )
    return {"rate": share, "targets": tuple(names.split(",")), "captions": None if rule == OWN else rule}


def _describe(attack: Attack | None) -> None:
    if attack is None:
        st.caption("A copy without poison, to see what CFBD finds where there is nothing to find.")
        return
    summary = attack.summary[0].upper() + attack.summary[1:]
    st.caption(f"**{attack.title}**: {summary}. {words.escaped(attack.source)}")


def _own(attack: Attack) -> dict[str, Any]:
    """Draw a field for each of the attack's own options; return those that are not at their default."""
    fields = list(own_options(attack.params).values())
    kinds, values = get_type_hints(attack.params), {}
    for first in range(0, len(fields), 3):  # row by row, so that a phone keeps their order
        columns = st.columns(3, vertical_alignment="bottom")
        for column, one in zip(columns, fields[first : first + 3], strict=False):
            with column:
                values[one.name] = _field(
                    one.name, kinds[one.name], one.default, help_of(one), f"lab_{attack.name}_{one.name}"
                )
    return {one.name: values[one.name] for one in fields if values[one.name] != one.default}


def _field(name: str, kind: Any, default: Any, help: str, key: str) -> Any:
    label = name.replace("_", " ").capitalize()
    shown = "no" if default is False else f"{default:.4g}" if kind is float else default
    common: dict[str, Any] = {"key": key, "help": f"{help} Default: {shown}", **IN_SESSION}
    if kind is bool:
        return st.checkbox(label, default, **common)
    if get_origin(kind) is Literal:
        choices = list(get_args(kind))
        return st.selectbox(label, choices, choices.index(default), **common)
    if kind is int:
        return st.number_input(label, value=default, step=1, **common)
    if kind is float:
        step = 0.01 if default < 1 else 0.1
        return st.number_input(label, value=default, step=step, format="%.4g", **common)
    return st.text_input(label, default, **common)


def _more(attack: Attack, rule: str | None) -> tuple[int, dict[str, Any]]:
    """Ask for what several attacks have in common and few people change: triggers a target, options of the copy."""
    columns = iter(st.columns(3))
    chosen: dict[str, Any] = {}
    triggers = next(columns).number_input(
        "Triggers a target",
        1,
        value=1,
        key="lab_triggers",
        help="Each poison carries one of them.",
        **IN_SESSION,
    )
    if (rule or attack.captions) == "natural":
        file = next(columns).text_input(
            "File of natural captions",
            key="lab_captions_file",
            placeholder="ours",
            **IN_SESSION,
            help="One caption of the target a line; needed for targets that we have none of.",
        )
        chosen |= {"captions_file": file} if file.strip() else {}
    if attack.optimised:
        encoder = next(columns).text_input(
            "Encoder that is attacked",
            key="lab_encoder",
            placeholder="mini, or NAME/PRETRAINED of open_clip",
            **IN_SESSION,
        )
        chosen |= {"encoder": encoder} if encoder.strip() else {}
    return int(triggers), chosen


def _traps() -> dict[str, float]:
    with st.expander("Benign traps", icon=":material/crisis_alert:", type="compact"):
        st.caption(
            "What web data holds besides poison, and a detector must leave alone. Shares of all pairs."
        )
        shares = {}
        for column, (trap, sentence) in zip(st.columns(len(TRAPS)), TRAPS.items(), strict=True):
            label = lab.LABELS[trap.replace("_", "-")]
            shares[trap] = column.number_input(
                label, 0.0, 1.0, 0.0, 0.01, format="%.4g", key=f"lab_{trap}", help=sentence, **IN_SESSION
            )
    return shares
