"""Installs conf/ inside the package: what pyproject.toml cannot say together with package discovery."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["autolora_bench", "autolora_bench.*"]), "autolora_bench.conf"],
    package_dir={"autolora_bench.conf": "conf"},
    package_data={"autolora_bench.conf": ["**/*.yaml"]},
)
