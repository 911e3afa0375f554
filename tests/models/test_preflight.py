"""What is told of a model from its files alone is what loading it tells, on every encoder and decoder."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from autolora_bench.config.architectures import ARCHITECTURES, ENCODER_DECODERS
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.errors import UserError
from autolora_bench.models.load import HeadKind, HeadSpec, load_backbone
from autolora_bench.models.preflight import check_all_blocks, check_model, check_ranks
from autolora_bench.models.targets import check_own_weight

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
OWN: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16},
    "distilbert": {"dim": 24, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "gpt2": {"n_embd": 24, "n_layer": 2, "n_head": 2},
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 24},
    **{
        name: {"head_dim": 12, "num_key_value_heads": 1}
        for name in ("gemma", "gemma2", "gemma3_text", "qwen3")
    },
}
"""Beside SIZES, where an architecture's settings have other names or a grouped attention."""
ARCHITECTURES = [
    name
    for name, known in ARCHITECTURES.items()
    if known.query_value and name not in ("residual_net", *ENCODER_DECODERS)
]
HEAD = HeadSpec(HeadKind.hidden_states)


def model_in(folder: Path, architecture: str, tokenizer_from: Path) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_from)
    tokenizer.save_pretrained(folder)
    more = OWN.get(architecture, {})
    sizes = more if architecture in ("distilbert", "gpt2") else {**SIZES, **more}
    config = AutoConfig.for_model(architecture, vocab_size=len(tokenizer), pad_token_id=1, **sizes)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def experiment_of(folder: Path, *words: str) -> ExperimentConfig:
    with composer():
        base = ["task=rte", "data=generated", "model=any", f"model.checkpoint={folder}", *words]
        return to_experiment(compose_config(base))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.sample(keep=("bert", "gpt2", "qwen2"))
def test_sizes_of_adapted_layers_are_those_of_the_loaded_model(
    architecture: str, tiny_encoder: Path, tmp_path: Path
) -> None:
    folder = model_in(tmp_path, architecture, tiny_encoder)
    backbone = load_backbone(experiment_of(folder).model, HEAD)
    shapes = [backbone.model.get_submodule(name).weight.shape for name in backbone.targets]
    for blocks in (2, 5, 8, 12, 24, 48):
        fits = all(size % blocks == 0 for shape in shapes for size in shape)
        experiment = experiment_of(folder, "method=monarch", f"method.blocks={blocks}")
        if fits:
            check_model(experiment)
        else:
            with pytest.raises(UserError, match=f"{blocks} blocks do not divide .*, a layer of"):
                check_model(experiment)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.sample(keep=("bert", "gpt2", "qwen2"))
def test_a_block_that_is_gone_is_named_as_loading_names_it(
    architecture: str, tiny_encoder: Path, tmp_path: Path
) -> None:
    folder = model_in(tmp_path, architecture, tiny_encoder)
    check_all_blocks(experiment_of(folder, "method=full"))
    file = folder / "model.safetensors"
    weights = load_file(file)
    left = {name: weight for name, weight in weights.items() if ".1." not in name}
    save_file(left, file, {"format": "pt"})
    experiment = experiment_of(folder, "method=full")
    if architecture == "albert":  # its blocks are one
        check_all_blocks(experiment)
        return
    with pytest.raises(UserError, match="lacks weights of its model: ") as told:
        check_all_blocks(experiment)
    with pytest.raises(UserError, match="lacks weights of its model: ") as loaded:
        load_backbone(experiment.model, HEAD)
    assert loaded.value.mend == told.value.mend
    assert told.value.what.rpartition(" ")[2] in weights.keys() - left.keys()


def test_layers_that_are_drawn_anew_may_be_gone(tiny_encoder: Path, tmp_path: Path) -> None:
    folder = model_in(tmp_path, "bert", tiny_encoder)
    file = folder / "model.safetensors"
    weights = {
        name: one for name, one in load_file(file).items() if "layer.1.attention.self.query" not in name
    }
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"layer\.1\.attention\.self\.query\.weight"):
        check_all_blocks(experiment_of(folder))
    for named in ("query", "layer.1.attention.self.query"):
        check_all_blocks(experiment_of(folder, f"model.untrained=[{named}]"))
    with pytest.raises(UserError, match=r"layer\.1\.attention\.self\.query\.weight"):
        check_all_blocks(experiment_of(folder, "model.untrained=[layer.0.attention.self.query]"))


def test_ranks_are_compared_in_the_blocks_alone(tiny_encoder: Path, tmp_path: Path) -> None:
    """Files may hold poolers and heads of other tasks, of which they do not tell whether the model has them."""
    folder = model_in(tmp_path, "bert", tiny_encoder)
    words = ["method=lora_from_ranks", "model.targets=[dense]"]
    blocks = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    inside = ("attention.output.dense", "intermediate.dense", "output.dense")
    ranks = {f"{block}.{name}": 2 for block in range(blocks) for name in inside}
    for given in (ranks, ranks | {"pooler.dense": 2}):
        experiment = experiment_of(folder, *words, "+method.ranks.a=1")
        experiment.method.ranks = given  # type: ignore[attr-defined]
        check_ranks(experiment)
    experiment.method.ranks = {**ranks, f"{blocks}.output.dense": 2}  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="not in both"):
        check_ranks(experiment)


@pytest.mark.parametrize(
    ("architecture", "sizes"),
    [("bloom", {"hidden_size": 16}), ("openai-gpt", {"n_embd": 16})],
    ids=["bloom", "in a folder of another name"],
)
def test_an_architecture_without_pytorchs_attention_is_told_of_before_it_is_loaded(
    architecture: str, sizes: dict[str, int], tiny_encoder: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    tokenizer.save_pretrained(tmp_path)
    config = AutoConfig.for_model(architecture, vocab_size=len(tokenizer), n_layer=1, n_head=2, **sizes)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    experiment = experiment_of(tmp_path)
    for refuse in (lambda: check_model(experiment), lambda: load_backbone(experiment.model, HEAD)):
        with pytest.raises(UserError, match=rf"no model\.attention=sdpa for a {architecture} model") as error:
            refuse()
        assert error.value.mend == "say model.attention=eager"
    plain = experiment_of(tmp_path, "model.attention=eager")
    check_model(plain)
    load_backbone(plain.model, HEAD)


def test_blocks_of_a_random_network() -> None:
    with composer():
        words = ["task=planted", "model=small", "method=monarch"]
        check_model(to_experiment(compose_config([*words, "method.blocks=6"])))
        with pytest.raises(UserError, match="5 blocks do not divide a layer of 48 outputs and 48 inputs"):
            check_model(to_experiment(compose_config([*words, "method.blocks=5"])))


def test_a_configuration_that_states_no_number_of_blocks(tiny_encoder: Path, tmp_path: Path) -> None:
    folder = model_in(tmp_path, "bert", tiny_encoder)
    said = json.loads((folder / "config.json").read_text())
    said.pop("num_hidden_layers")
    (folder / "config.json").write_text(json.dumps(said))
    check_all_blocks(experiment_of(folder))


@pytest.mark.parametrize(
    ("architecture", "head"),
    [("llama", "lm_head"), ("gpt_neox", "lm_head"), ("gpt_neox_japanese", "embed_out"), ("t5", "lm_head")],
)
def test_the_head_of_a_model_that_writes_is_adapted_though_its_files_lack_it(
    architecture: str, head: str, tiny_decoder: Path, tmp_path: Path
) -> None:
    """A head that shares the embeddings' weight is not in the files; a classifier's decoder has none."""
    AutoTokenizer.from_pretrained(tiny_decoder).save_pretrained(tmp_path)
    both = architecture == "t5"
    sizes = {"d_model": 24, "d_kv": 12, "d_ff": 32, "num_layers": 1, "num_heads": 2} if both else SIZES
    config = AutoConfig.for_model(
        architecture, vocab_size=300, tie_word_embeddings=architecture in ("llama", "t5"), **sizes
    )
    if both:
        config.decoder_start_token_id = 0
    (AutoModelForSeq2SeqLM if both else AutoModelForCausalLM).from_config(config).save_pretrained(tmp_path)
    targets = [f"model.targets=[{head}]", "model.attention=eager"]
    experiment = experiment_of(tmp_path, "task=e2e", *targets)
    check_model(experiment)
    kind = HeadKind.text_to_text if both else HeadKind.language_model
    assert load_backbone(experiment.model, HeadSpec(kind)).targets == [head]
    wrong = ["task=e2e", f"model.targets=[{head}s]", targets[1]]
    for words in [wrong] if architecture in ("t5", "gpt_neox_japanese") else [wrong, targets]:
        with pytest.raises(
            UserError, match=rf"model\.targets: no linear layer of 'any' is called '{head}s?'"
        ):
            check_model(experiment_of(tmp_path, *words))


@pytest.mark.parametrize("named", ["embed_out", "output_projection", "lm_heads"])
def test_a_head_by_the_name_of_another_architectures_is_refused(
    named: str, tiny_decoder: Path, tmp_path: Path
) -> None:
    folder = writer_in(tmp_path, tiny_decoder, tied=True)
    experiment = experiment_of(folder, "task=e2e", f"model.targets=[{named}]")
    for refuse in (
        lambda: check_model(experiment),
        lambda: load_backbone(experiment.model, HeadSpec(HeadKind.language_model)),
    ):
        with pytest.raises(UserError, match=f"no linear layer of 'any' is called '{named}'") as error:
            refuse()
        assert "lm_head" in error.value.mend


@pytest.mark.parametrize("method", ["pissa", "monarch", "lora"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_is_refused_to_methods_that_need_its_own_weight(
    tied: bool, method: str, tiny_decoder: Path, tmp_path: Path
) -> None:
    folder = writer_in(tmp_path, tiny_decoder, tied)
    experiment = experiment_of(folder, "task=e2e", f"method={method}", "model.targets=[lm_head]")
    if not tied or method == "lora":
        check_model(experiment)
        return
    model = load_backbone(experiment.model, HeadSpec(HeadKind.language_model)).model
    with pytest.raises(UserError, match="are one weight"):
        check_own_weight(model, "lm_head", "")
    with pytest.raises(UserError, match="lm_head of 'any' has its weight in common with the embeddings"):
        check_model(experiment)


def writer_in(folder: Path, tokenizer_from: Path, tied: bool) -> Path:
    AutoTokenizer.from_pretrained(tokenizer_from).save_pretrained(folder)
    config = AutoConfig.for_model("llama", vocab_size=300, tie_word_embeddings=tied, **SIZES)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder
