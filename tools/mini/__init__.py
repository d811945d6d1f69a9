"""The steps that make the embedded encoder ``mini`` (run by ``tools/train_mini.py``)."""

from cfbd_core.embedding.torchvision_compat import import_torchvision

import_torchvision()  # timm and open_clip import it
