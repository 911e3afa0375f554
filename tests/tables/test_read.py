"""Tables through the builders of `datasets`: the files that were named, and no others."""

from pathlib import Path

import pandas as pd
import pytest

from autolora_bench.tables.read import opened


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("name", ["runs[1]/what", "runs/what?", "runs/x::y", "runs/a*", "runs/a b,c=d"])
def test_a_name_is_no_pattern(name: str, ending: str, tmp_path: Path) -> None:
    """Beside each lie files that it would stand for, were it one."""
    other = ["runs1/what", "runs/whats", "runs/ab"]
    for place, word in [(name, "mine"), *((place, "another's") for place in other)]:
        path = tmp_path / f"{place}.{ending}"
        path.parent.mkdir(exist_ok=True)
        frame = pd.DataFrame({"text": [word], "label": ["yes"]})
        if ending == "parquet":
            frame.to_parquet(path)
        else:
            frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    with opened([tmp_path / f"{name}.{ending}"]) as dataset:
        assert dataset["text"][:] == ["mine"]
