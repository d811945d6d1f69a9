"""The form of a training run: a set, a defence, a model, how long, and what it is measured with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import streamlit as st

from app import state, toasts, words
from app.training import request as train
from app.training import runs as train_runs
from app.training.runs import Run
from cfbd_core.config import help_of
from cfbd_core.errors import CfbdError
from cfbd_core.training.config import TrainParams
from cfbd_core.training.defences import DEFENSES, Defense

SET_LINES = {
    "kept": "what CFBD and you leave",
    "coarse": "D_b, the coarse stage alone",
    "all": "with whatever poison there is",
}
MODELS = ("mini", "RN50", "ViT-B-32", "RN50/openai", "ViT-B-32/openai")
DEVICES = ("auto", "cpu", "cuda")
NOTHING = "Not measured"
CALMER_BY = 3  # what a learning rate is divided by whose run has not kept its loss finite
FIELDS = {
    "epochs": "train_epochs",
    "batch_size": "train_batch",
    "seed": "train_seed",
    "device": "train_device",
    "steps": "train_steps",
    "warmup": "train_warmup",
    "accumulate": "train_accumulate",
    "checkpoint_every": "train_checkpoint",
}
IN_SESSION: dict[str, Any] = {"persist_state": "session"}  # while other pages are looked at


def ask(audit: Path, runs: Sequence[Run]) -> train.RunRequest | None:
    """Draw the fields. None where something is missing or wrong, which a line beside it says, or still being made."""
    sets = train.sets(audit)
    if sets is None:
        return None
    sizes, why = sets
    subset = _subset(sizes, why)
    if sizes[subset] < 2:
        st.info("So few pairs cannot be trained on: choose another set.", icon=":material/inbox:")
        return None
    left, right = st.columns(2)
    defense = left.selectbox(
        "Defence",
        list(DEFENSES),
        format_func=lambda name: DEFENSES[name].title,
        key="train_defense",
        **IN_SESSION,
    )
    typed = right.selectbox(
        "Model",
        [*MODELS, *(run.name for run in runs if run.model_folder)],
        key="train_model",
        accept_new_options=True,
        filter_mode="contains",
        **IN_SESSION,
        help="mini; NAME of an open_clip model, from scratch; NAME/PRETRAINED with its weights; NAME@FILE, a "
        "checkpoint; a run of this audit; or an open_clip folder. Type what is not in the list.",
    )
    chosen = DEFENSES[defense]
    left.caption(f"{words.escaped(chosen.summary)} ({words.escaped(chosen.source.partition(':')[0])}).")
    problem: CfbdError | None = None
    try:
        spec = train.model(typed or "", audit)
        right.caption(train.model_caption(spec))
    except CfbdError as error:
        spec, problem = "mini", error
    given = _numbers(spec, sizes[subset]) | {"subset": subset, "defense": defense, "model": spec}
    given["defense_options"] = _own(chosen)
    classes, attack = _measured(audit)
    try:
        if problem is not None:
            raise problem
        settings = state.settings()
        return train.RunRequest(
            TrainParams(**given),
            sizes[subset],
            settings.source(classes) if classes else None,
            str(settings.inside(attack)) if classes and attack else None,
        )
    except CfbdError as error:
        show_error(error)
        return None


def fill_calmer(run: Run) -> None:
    """Fill the fields, before they are drawn, with what ``run`` was asked for, and a third of its learning rate."""
    first: dict[str, Any] = {**train.FIRST.to_dict()}
    params = first | {name: value for name, value in run.params.items() if value is not None}
    values = {key: params[name] for name, key in FIELDS.items()}
    spec, defense = params["model"], params["defense"]
    values["train_model"] = _named(spec)
    rate = (params["lr"] or train.default_lr(spec)) / CALMER_BY
    values["train_lr"] = float(f"{rate:.3g}")
    if params["subset"] in train_runs.SETS:
        values["train_subset_3"] = params["subset"]  # of an audit that is split; another has one set alone
    if defense in DEFENSES:
        values["train_defense"] = defense
        own = params["defense_options"]
        for one in dataclasses.fields(DEFENSES[defense].options):
            value = own.get(one.name, one.default)
            values[f"train_{defense}_{one.name}"] = float(value) if isinstance(one.default, float) else value
    for name in ("classes", "attack"):
        place = run.measured_on.get(name)
        values[f"train_{name}"] = _named(place) if place else NOTHING
    st.session_state.update(values)
    toasts.add("The form below has its settings, and a smaller learning rate.", ":material/edit:")


def _named(place: str) -> str:
    """Return a whole path as a person would say it; a name of something else as it is."""
    return state.settings().name(Path(place)) if place.startswith("/") else place


def show_error(error: CfbdError) -> None:
    """One line that says what to mend."""
    st.error(words.escaped(train.in_words(str(error))), icon=":material/error:")


def _subset(sizes: dict[str, int], why: str | None) -> str:
    subset: str = st.radio(
        "Train on",
        list(sizes),
        format_func=train_runs.SETS.__getitem__,
        key=f"train_subset_{len(sizes)}",
        horizontal=True,
        captions=[f"{pairs:,} pairs: {SET_LINES[name]}" for name, pairs in sizes.items()],
        **IN_SESSION,
    )
    if why is not None:
        st.caption(
            f":material/info: *Kept* and *Coarse only* come with the split, which this audit has not: "
            f"{words.escaped(why)}."
        )
    return subset


def _numbers(spec: str, pairs: int) -> dict[str, Any]:
    """Ask how long and how fast; the fields of the expander are for few people."""
    fields = st.columns(5)
    numbers: dict[str, Any] = {
        "epochs": fields[0].number_input("Epochs", 1, value=10, key="train_epochs", **IN_SESSION),
        "batch_size": fields[1].number_input(
            "Batch size", 1, value=train.first_batch(pairs), key="train_batch", **IN_SESSION
        ),
        "lr": fields[2].number_input(
            "Learning rate",
            0.0,
            value=None,
            step=1e-6,
            format="%.4g",
            key="train_lr",
            placeholder=f"{train.default_lr(spec):g}",
            help="At its highest, after the warm-up. Empty: as shown.",
            **IN_SESSION,
        ),
        "seed": fields[3].number_input("Seed", 0, value=0, key="train_seed", **IN_SESSION),
        "device": fields[4].selectbox(
            "Device",
            DEVICES,
            key="train_device",
            accept_new_options=True,
            **IN_SESSION,
            help="auto: a GPU where there is one.",
        )
        or "auto",
    }
    with st.expander("More", icon=":material/tune:", type="compact"):
        more = st.columns(4)
        numbers |= {
            "steps": more[0].number_input(
                "Most steps",
                1,
                value=None,
                key="train_steps",
                placeholder="by epochs",
                help="Ends the run before its last epoch.",
                **IN_SESSION,
            ),
            "warmup": more[1].number_input(
                "Warm-up",
                0,
                value=None,
                key="train_warmup",
                placeholder="a tenth",
                help="Steps in which the learning rate rises.",
                **IN_SESSION,
            ),
            "accumulate": more[2].number_input(
                "Batches a step",
                1,
                value=1,
                key="train_accumulate",
                help="Their loss is that of one large batch, in the memory of a small one.",
                **IN_SESSION,
            ),
            "checkpoint_every": more[3].number_input(
                "Steps between checkpoints",
                1,
                value=train.FIRST.checkpoint_every,
                key="train_checkpoint",
                help="A run that was killed goes on from its last one; one that is stopped loses nothing.",
                **IN_SESSION,
            ),
        }
    return numbers


def _own(defense: type[Defense]) -> dict[str, Any]:
    """Draw a field for each of the defence's own options; return those that are not at their default."""
    fields = dataclasses.fields(defense.options)
    if not fields:
        return {}
    kinds, values = get_type_hints(defense.options), {}
    with st.expander(f"Options of {defense.title}", icon=":material/shield:", type="compact"):
        for first in range(0, len(fields), 3):  # row by row, so that a phone keeps their order
            for column, one in zip(st.columns(3), fields[first : first + 3], strict=False):
                with column:
                    values[one.name] = _field(one, kinds[one.name], f"train_{defense.name}_{one.name}")
    return {one.name: values[one.name] for one in fields if values[one.name] != one.default}


def _field(field: dataclasses.Field[Any], kind: Any, key: str) -> Any:
    label, help_text = field.name.replace("_", " ").capitalize(), help_of(field)
    if get_origin(kind) is Literal:
        choices = list(get_args(kind))
        return st.selectbox(
            label, choices, choices.index(field.default), key=key, help=help_text, **IN_SESSION
        )
    if isinstance(field.default, float):
        return st.number_input(
            label, value=field.default, step=0.01, format="%.4g", key=key, help=help_text, **IN_SESSION
        )
    return st.number_input(
        label,
        value=cast(int, field.default),
        step=1,
        key=key,
        help=help_text,
        placeholder="by itself",
        **IN_SESSION,
    )


def _measured(audit: Path) -> tuple[str | None, str | None]:
    """Ask for the labelled source and the poisoned copy, as typed or chosen."""
    attacks = train.attacks(audit)
    own = train.is_own(audit, attacks)
    left, right = st.columns(2)
    classes = left.selectbox(
        "Labelled pictures, for CA",
        _choices(train.labelled(audit)),
        int(own),
        key="train_classes",
        accept_new_options=True,
        filter_mode="contains",
        **IN_SESSION,
        help="CA: share of pictures that the model gives their own class, among all classes. A source with labels, "
        "best of pictures that are not trained on. Measured after every epoch.",
    )
    attack = right.selectbox(
        "Poisoned copy, for ASR",
        _choices(attacks),
        int(own),
        key="train_attack",
        accept_new_options=True,
        filter_mode="contains",
        disabled=_typed(classes) is None,
        **IN_SESSION,
        help="ASR: share of pictures of other classes that the trigger turns into the target. The copy's own trigger "
        "is put on the labelled pictures. Copies are made in the Attack lab.",
    )
    return _typed(classes), _typed(attack)


def _choices(names: Sequence[str]) -> list[str]:
    return [NOTHING, *names]


def _typed(text: str | None) -> str | None:
    return None if text is None or text == NOTHING else text.strip() or None
