"""What results/ shows is what its records give: `autolora-bench report records=... out=...` again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from autolora_bench import cli

RESULTS = Path(__file__).parents[2] / "results"
SHOWN = {
    "minilm": [f"records={RESULTS / 'records'}", "model=minilm", "task=cola,mrpc,rte,sst2,stsb"],
    "methods": [f"records={RESULTS / 'methods' / 'records'}"],
    "peft_all": [f"records={RESULTS / 'peft_all' / 'records'}"],
    "generated": [f"records={RESULTS / 'generated' / 'records'}"],
    "arena": [f"records={RESULTS / 'arena' / 'records'}", "task=planted"],
    "arena_adalora": [
        f"records={RESULTS / 'arena' / 'records'},{RESULTS / 'arena_adalora' / 'records'}",
        "task=planted",
        "method=adalora,lora_uniform,oracle",
    ],
    "arena_null": [f"records={RESULTS / 'arena_null' / 'records'}", "task=planted"],
    "arena_released": [f"records={RESULTS / 'arena_released' / 'records'}", "task=planted"],
    "arena_variables": [
        f"records={RESULTS / 'arena' / 'records'},{RESULTS / 'arena_variables' / 'records'}",
        "task=planted",
        "method=autolora,autolora_topk,autolora_budget,autolora_sigmoid,autolora_mirror,lora_uniform,oracle",
    ],
    "all_linear": [
        f"records={RESULTS / 'all_linear' / 'records'}",
        "compare=autolora_all_linear:lora_uniform,autolora_all_linear:lora,lora_uniform:lora",
    ],
    "fair": [
        f"records={RESULTS / 'fair' / 'records'}",
        "compare=head_only:lora,autolora:lora,autolora:lora_random_ranks,lora_balanced:lora,lora_random_ranks:lora",
    ],
    "fair_informed": [
        f"records={RESULTS / 'fair' / 'records'}",
        "task=mrpc",
        "method=lora,lora_random_ranks,lora_svd_ranks,autolora_budget",
        "compare=lora_svd_ranks:lora,lora_svd_ranks:lora_random_ranks,autolora_budget:lora,autolora_budget:lora_random_ranks",
    ],
    "fair_methods": [
        f"records={RESULTS / 'fair' / 'records'}",
        "task=mrpc",
        "method=lora,full,adalora,pissa",
        "compare=full:lora,adalora:lora,pissa:lora",
    ],
    "fair_sst2": [
        f"records={RESULTS / 'fair_sst2' / 'records'}",
        "compare=lora_random_ranks:lora,autolora_budget:lora,autolora_budget:lora_random_ranks,lora_svd_ranks:lora,lora_svd_ranks:lora_random_ranks",
    ],
    "fair_sst2_at_1e-3": [
        f"records={RESULTS / 'fair_sst2_at_1e-3' / 'records'}",
        "compare=lora_svd_ranks:lora,lora_svd_ranks:lora_random_ranks",
    ],
    "fair_sst2_at_3e-3": [
        f"records={RESULTS / 'fair_sst2_at_3e-3' / 'records'}",
        "compare=lora_svd_ranks:lora,lora_svd_ranks:lora_random_ranks",
    ],
    "fair_cola_at_1e-3": [
        f"records={RESULTS / 'fair_cola_at_1e-3' / 'records'}",
        "compare=lora_svd_ranks:lora,lora_random_ranks:lora,lora_svd_ranks:lora_random_ranks",
    ],
    "fair_stsb": [f"records={RESULTS / 'fair_stsb' / 'records'}", "compare=head_only:lora"],
    "learned_rates_fair": [
        f"records={RESULTS / 'learned_rates_fair' / 'records'}",
        "compare=lora_learned_rates:lora",
    ],
    "arena_agreement": [f"records={RESULTS / 'arena_agreement' / 'records'}", "task=planted"],
    "arena_minilm": [f"records={RESULTS / 'arena_minilm' / 'records'}", "task=planted"],
    "rank_stsb": [f"records={RESULTS / 'rank_stsb' / 'records'}"],
    "shuffled_labels": [f"records={RESULTS / 'shuffled_labels' / 'records'}"],
    "shuffled_labels_searches": [f"records={RESULTS / 'shuffled_labels_searches' / 'records'}"],
    "shuffled_labels_mrpc": [
        f"records={RESULTS / 'fair' / 'records'},{RESULTS / 'shuffled_labels_mrpc' / 'records'}",
        "task=mrpc,mrpc_shuffled",
        "method=lora_balanced",
    ],
    "stsb_1000_at_1e-3": [
        f"records={RESULTS / 'stsb_1000_at_1e-3' / 'records'}",
        "compare=autolora_budget:lora,autolora_budget:lora_random_ranks,lora_svd_ranks:lora,lora_svd_ranks:lora_random_ranks",
    ],
    "stsb_1000_at_3e-3": [
        f"records={RESULTS / 'stsb_1000_at_3e-3' / 'records'}",
        "compare=autolora_budget:lora,autolora_budget:lora_random_ranks,lora_svd_ranks:lora,lora_svd_ranks:lora_random_ranks",
    ],
    "stsb_1000_shuffled_search": [
        f"records={RESULTS / 'stsb_1000_at_1e-3' / 'records'},{RESULTS / 'stsb_1000_shuffled_search' / 'records'}",
        "method=lora,autolora_budget,lora_shuffled_ranks",
        "compare=autolora_budget:lora_shuffled_ranks,lora_shuffled_ranks:lora",
    ],
    "stsb_1000_shuffled_singular": [
        f"records={RESULTS / 'stsb_1000_at_1e-3' / 'records'},{RESULTS / 'stsb_1000_shuffled_singular' / 'records'}",
        "method=lora,lora_svd_ranks,lora_shuffled_ranks",
        "compare=lora_svd_ranks:lora_shuffled_ranks,lora_shuffled_ranks:lora",
    ],
    "fair_cola_ranks": [
        f"records={RESULTS / 'fair_cola_ranks' / 'records'}",
        "compare=lora/rank=16:lora/rank=1",
    ],
    "stsb_1000_less_moved": [
        f"records={RESULTS / 'stsb_1000_at_1e-3' / 'records/stsb/minilm/lora-b698b8db'},"
        f"{RESULTS / 'stsb_1000_less_moved' / 'records'}",
        "compare=autolora_budget/search.selection_learning_rate=0.01:lora,"
        "autolora_budget/search.selection_learning_rate=0.03:lora,"
        "autolora_budget/search.selection_learning_rate=0.01:lora_shuffled_ranks/cell=stsb/minilm/autolora_budget-ed4977c3,"
        "autolora_budget/search.selection_learning_rate=0.03:lora_shuffled_ranks/cell=stsb/minilm/autolora_budget-c22a70dc",
    ],
    "stsb_1000_constant_scale": [
        f"records={RESULTS / 'stsb_1000_at_1e-3' / 'records/stsb/minilm/lora-b698b8db'},"
        f"{RESULTS / 'stsb_1000_shuffled_search' / 'records'},{RESULTS / 'stsb_1000_constant_scale' / 'records'}",
        "compare=lora_shuffled_ranks/scaling=constant:lora,"
        "lora_shuffled_ranks/scaling=constant:lora_shuffled_ranks/scaling=alpha_over_rank,"
        "lora_from_ranks:lora_shuffled_ranks/scaling=constant",
    ],
    "stsb_1000_rates": [
        f"records={RESULTS / 'stsb_1000_at_1e-3' / 'records'},{RESULTS / 'stsb_1000_at_3e-3' / 'records'},"
        f"{RESULTS / 'stsb_1000_rates' / 'records'}",
        "method=autolora_budget,lora_balanced,adalora,lora_svd_ranks",
    ],
    "which_layers": [f"records={RESULTS / 'which_layers' / 'records'}", "task=planted"],
}
"""Folder of results/ -> the words of its report."""


@pytest.mark.slow
@pytest.mark.parametrize("folder", SHOWN)
def test_every_committed_file_is_made_again_byte_for_byte(folder: str, tmp_path: Path) -> None:
    assert cli.run(["report", *SHOWN[folder], f"out={tmp_path}"]) == 0
    committed = [path for path in (RESULTS / folder).rglob("*") if path.is_file() and path.name != "run.json"]
    shown = [path for path in committed if "records" not in path.relative_to(RESULTS / folder).parts]
    assert shown
    for path in shown:
        assert (tmp_path / path.relative_to(RESULTS / folder)).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("folder", ["minilm", "methods", "generated", "peft_all"])
@pytest.mark.parametrize(("form", "suffix"), [("markdown", "md"), ("csv", "csv")])
@pytest.mark.sample(one_in=2)
def test_the_committed_scores_are_those_of_the_records(
    folder: str, form: str, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["report", *SHOWN[folder], f"format={form}"]) == 0
    committed = (RESULTS / folder / f"scores.{suffix}").read_text(encoding="utf-8")
    assert capsys.readouterr().out.startswith(committed)


@pytest.mark.parametrize(("form", "suffix"), [("markdown", "md"), ("csv", "csv"), ("latex", "tex")])
def test_the_report_of_all_records_is_unchanged(
    form: str, suffix: str, golden: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["report", f"records={RESULTS / 'records'}", f"format={form}"]) == 0
    golden(f"records.{suffix}", capsys.readouterr().out)
