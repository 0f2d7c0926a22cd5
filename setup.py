"""The packages: those found by name, and config/ as genrec.presets. All else stands in pyproject.toml."""

from setuptools import find_namespace_packages, find_packages, setup

PRESETS = ["genrec.presets", *(f"genrec.presets.{name}" for name in find_namespace_packages("config"))]

setup(
    packages=find_packages(include=["genrec*", "tencentgr*", "UR4Rec*"]) + PRESETS,
    package_dir={"genrec.presets": "config"},
    package_data=dict.fromkeys(PRESETS, ["*.yaml", "*.json"])
    | {"tencentgr": ["config.yaml"], "genrec.serving": ["page/*"]},
)
