"""Rank allocations as PEFT adapters: what PEFT really built."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from autolora_bench.errors import UserError
from autolora_bench.search import RankAllocation, lora_layers, rank_pattern, verify_applied


@pytest.fixture(scope="module")
def names(toys) -> list[str]:
    return list(lora_layers(toys.model(layers=12)))


def base(toys, layers: int = 12):
    return toys.model(layers=layers).unload()


def build(toys, allocation: RankAllocation, **arguments) -> PeftModel:
    return get_peft_model(base(toys), LoraConfig(**arguments))


def ranks_of(model: PeftModel) -> dict[str, int]:
    return {name: layer.lora_A["default"].weight.shape[0] for name, layer in lora_layers(model).items()}


def test_every_layer_has_its_rank_with_twelve_blocks(toys, names):
    """`layer.1` must not match `layer.11`, nor rank 0 leave an adapter."""
    ranks = [(3 * i + 1) % 9 for i in range(24)]
    allocation = RankAllocation.from_ranks(names, ranks)
    model = build(toys, allocation, **rank_pattern(allocation, "alpha_over_rank", 16))
    assert ranks_of(model) == {n: r for n, r in zip(names, ranks, strict=True) if r}
    verify_applied(model, allocation)


@pytest.mark.parametrize(
    ("scaling", "value", "expected"),
    [
        ("alpha_over_rank", 16, {1: 16.0, 8: 2.0, 3: 16 / 3}),
        ("constant", 2, {1: 2.0, 8: 2.0, 3: 2.0}),
        ("constant", 0.1, {1: 0.1, 8: 0.1, 3: 0.1}),
    ],
)
@pytest.mark.sample(one_in=2)
def test_scaling(toys, names, scaling, value, expected):
    allocation = RankAllocation.from_ranks(names, [(1, 8, 3)[i % 3] for i in range(24)])
    model = build(toys, allocation, **rank_pattern(allocation, scaling, value))
    verify_applied(model, allocation)
    for layer in lora_layers(model).values():
        assert layer.scaling["default"] == pytest.approx(expected[layer.r["default"]])


def test_survives_saving_and_loading(toys, names, tmp_path):
    allocation = RankAllocation.from_ranks(names, [i % 4 for i in range(24)])
    model = build(toys, allocation, **rank_pattern(allocation, "constant", 2.0)).eval()
    model.save_pretrained(tmp_path)
    json.loads((tmp_path / "adapter_config.json").read_text())
    loaded = PeftModel.from_pretrained(base(toys), tmp_path).eval()
    verify_applied(loaded, allocation)
    batch = toys.examples(0)
    assert torch.equal(model(**batch).logits, loaded(**batch).logits)


def test_works_on_conv1d_and_llama_names(toys):
    for kind in ("gpt2", "llama"):
        model = toys.model(kind)
        found = list(lora_layers(model))
        allocation = RankAllocation.from_ranks(found, [1 + i for i in range(len(found))])
        config = LoraConfig(
            **rank_pattern(allocation, "constant", 2), task_type="SEQ_CLS", fan_in_fan_out=kind == "gpt2"
        )
        verify_applied(get_peft_model(model.unload(), config), allocation)


def test_nothing_kept_is_refused(names):
    with pytest.raises(UserError, match="every layer has rank 0"):
        rank_pattern(RankAllocation.from_ranks(names, [0] * 24), "constant", 2)


def changed(arguments: dict, **changes) -> dict:
    return {key: changes.get(key, value) for key, value in arguments.items()}


@pytest.mark.filterwarnings("ignore:The following rank_pattern keys")
def test_silent_mistakes_are_caught(toys, names):
    allocation = RankAllocation.from_ranks(names, [1 + i % 3 for i in range(24)])
    good = rank_pattern(allocation, "alpha_over_rank", 16)
    loose = {**good["rank_pattern"], "query": 3}
    mistaken = {**good["rank_pattern"], "encoder.layer.99.query": 3}
    other = dict.fromkeys(good["rank_pattern"], 1)
    cases = {
        "matches 12 layers": changed(good, rank_pattern=loose),
        "matches 0 layers": changed(good, rank_pattern=mistaken),
        "instead of 2": changed(good, rank_pattern=other),
        "has no adapter": changed(good, target_modules=["query"]),
        "is scaled": {**good, "alpha_pattern": {r"layer\.0\.attention\.self\.query": 5}},
    }
    for message, arguments in cases.items():
        model = build(toys, allocation, **arguments)
        with pytest.raises(UserError, match=message):
            verify_applied(model, allocation)
    swapped = RankAllocation.from_ranks(names, [1 + (i + 1) % 3 for i in range(24)])
    with pytest.raises(UserError, match="has rank"):
        verify_applied(build(toys, allocation, **good), swapped)


def test_adapter_on_a_layer_of_rank_zero_is_caught(toys, names):
    allocation = RankAllocation.from_ranks(names, [i % 3 for i in range(24)])
    good = rank_pattern(allocation, "constant", 2)
    model = build(toys, allocation, **changed(good, target_modules=["query", "value"]))
    with pytest.raises(UserError, match="has an adapter"):
        verify_applied(model, allocation)
