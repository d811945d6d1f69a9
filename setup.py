"""What pyproject.toml cannot say: `assets/` goes into the wheel as a package, where the code looks for it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["cfbd_core*", "app*"]), "cfbd_core._assets"],
    package_dir={"cfbd_core._assets": "assets"},
    package_data={
        "cfbd_core": ["py.typed"],
        "app": ["style.css"],
        "cfbd_core._assets": ["attacks/**/*", "brand/*", "captions/*", "encoders/**/*", "models/**/*"],
    },
)
