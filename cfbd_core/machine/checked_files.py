"""Files of ours that may be damaged, or put there by somebody else: each is read against what it has to be.

Whoever reads says the way out, and of which kind the error is. A file that is not there is FileNotFoundError.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import DTypeLike

from cfbd_core.errors import AuditError, CfbdError
from cfbd_core.machine.json_shapes import Shape, check, parse
from cfbd_core.wording import in_one_line

MOST_BYTES = 2**34  # of arrays in one file of a benchmark
ArrayShape = tuple[int | None, ...]  # None: any length


def map_array(
    path: Path, dtype: DTypeLike, shape: ArrayShape, way_out: str, kind: type[CfbdError] = AuditError
) -> np.ndarray:
    """Map a ``.npy`` file to read; nothing is allocated, whatever its header says. Raises ``kind``."""
    with report_damage(path, way_out, kind):
        _demand_file(path)
        array = np.lib.format.open_memmap(path, mode="r")
        _demand(array, dtype, shape, "it")
        return array


def load_arrays(
    path: Path, most: int, wanted: Mapping[str, tuple[str, ArrayShape]] | None = None
) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` file that holds at most ``most`` bytes of them: those ``wanted`` (dtype, shape), or all.

    Raises whatever a damaged file makes its readers raise: to be called in :func:`report_damage`.
    """
    _demand_file(path)
    with ZipFile(path) as packed:
        size = sum(member.file_size for member in packed.infolist())
    if size > most:
        raise ValueError(f"{size:,} bytes of arrays, at most {most:,} belong there")
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in wanted or archive.files}
    for name, (dtype, shape) in (wanted or {}).items():
        _demand(arrays[name], dtype, shape, name)
    return arrays


def read_object(path: Path, shape: Shape, way_out: str, kind: type[CfbdError] = AuditError) -> Any:
    """Return the object in a JSON file, which has this shape. Raises ``kind``."""
    with report_damage(path, way_out, kind):
        _demand_file(path)
        value = parse(path.read_bytes())
        check(value, dict)
        check(value, shape)
        return dict(value)


@contextmanager
def report_damage(
    path: Path, way_out: str, kind: type[CfbdError] = AuditError, what: str = "damaged"
) -> Iterator[None]:
    """Turn whatever a damaged file makes its reader raise in the block into a line for the user."""
    try:
        yield
    except (FileNotFoundError, kind):
        raise
    except OSError as error:
        if error.errno is not None:
            raise kind(f"{path}: cannot be opened ({error.strerror}); {way_out}") from error
        raise kind(_message(path, what, error, way_out)) from error
    except (
        Exception
    ) as error:  # numpy's and zip's readers raise some twenty kinds; ours say what fits a setting
        raise kind(_message(path, what, error, way_out)) from error


def _message(path: Path, what: str, error: Exception, way_out: str) -> str:
    reason = in_one_line(error, 120) or type(error).__name__
    return f"{path}: {what} ({reason}); {way_out}"


def _demand_file(path: Path) -> None:
    """A pipe would wait for ever, a device end never."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("it is no file")


def _demand(array: np.ndarray, dtype: DTypeLike, shape: ArrayShape, name: str) -> None:
    fits = array.ndim == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, array.shape, strict=True)
    )
    if array.dtype != np.dtype(dtype) or not fits:
        lengths = " × ".join("n" if length is None else str(length) for length in shape)
        raise ValueError(f"{name} is {array.dtype} {array.shape}, {np.dtype(dtype)} {lengths} belongs there")
