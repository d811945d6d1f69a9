"""Where the project's own files lie, in a checkout as in site-packages."""

from __future__ import annotations

from pathlib import Path

# app/ lies beside cfbd_core/, in the repository as in site-packages. Asking Python for a package named
# `app` could find one of the folder that the user stands in.
PACKAGES_DIR = Path(__file__).resolve().parents[2]
_INSTALLED = PACKAGES_DIR / "cfbd_core" / "_assets"  # in a wheel they lie within the package
ASSETS_DIR = _INSTALLED if _INSTALLED.is_dir() else PACKAGES_DIR / "assets"
BRAND_DIR = ASSETS_DIR / "brand"
CAPTIONS_DIR = ASSETS_DIR / "captions"  # natural captions, a file TARGET.txt each
ISSBA_WEIGHTS = ASSETS_DIR / "attacks" / "issba" / "issba.safetensors"
MINI_DIR = ASSETS_DIR / "encoders" / "mini"
SCENES_MODEL_DIR = ASSETS_DIR / "models" / "scenes-64"
