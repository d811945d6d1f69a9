"""Import torchvision where its compiled operators are missing.

open_clip needs torchvision's transforms. Beside a CPU build of torch, the wheel of torchvision
fails to import because ``torchvision::nms`` and ``torchvision::qnms`` were never registered;
declaring their signatures is enough, since nothing here calls them.
"""

from __future__ import annotations

import torch

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []  # a Library unregisters its operators when collected


def import_torchvision() -> None:
    """Import torchvision; on failure declare the missing operators and import it again."""
    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in _OPERATORS:
            library.define(operator)  # type: ignore[no-untyped-call]
        _libraries.append(library)
        import torchvision  # noqa: F401
