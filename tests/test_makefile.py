"""`make` installs what the configuration expects."""

import re
from pathlib import Path

import yaml

from autolora_bench.paths import conf_dir

MAKEFILE = Path(__file__).resolve().parent.parent / "Makefile"


def test_the_demo_models_package_has_the_version_whose_checksum_is_known() -> None:
    package = yaml.safe_load((conf_dir() / "model" / "minilm.yaml").read_text())["package"]
    (name,) = package["names"]
    assert re.findall(rf"{re.escape(name)}==(\S+)", MAKEFILE.read_text()) == [package["version"]]
