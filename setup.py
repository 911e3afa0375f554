"""Installs conf/ and results/ inside the package, which pyproject.toml cannot say together with package discovery."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["autolora_bench", "autolora_bench.*"]),
        "autolora_bench.conf",
        "autolora_bench.results",
    ],
    package_dir={"autolora_bench.conf": "conf", "autolora_bench.results": "results"},
    package_data={
        "autolora_bench": ["py.typed"],
        "autolora_bench.conf": ["**/*.yaml"],
        "autolora_bench.results": ["*.csv"],
        "autolora_bench.report": ["assets/*"],
    },
)
