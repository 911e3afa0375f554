"""Configurations of PEFT on the way to a method: what is known of its types, read from files, refused, and hashed."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from autolora_bench.config.compose import compose_config, composer, search_path, to_experiment
from autolora_bench.config.experiment import ExperimentConfig, config_id
from autolora_bench.config.peft_types import OWN, UNSTATED, peft_types
from autolora_bench.errors import UserError
from autolora_bench.plan import command_line
from autolora_bench.request import Request
from autolora_bench.sweeps.expansion import plan


def composed(*words: str) -> ExperimentConfig:
    with composer():
        return to_experiment(compose_config(["task=sst2", "data=generated", "method=peft", *words]))


def test_every_type_and_setting_of_the_installed_peft_is_known() -> None:
    """Beside PEFT's own classes: names, fields, and defaults with their types."""
    found = peft_types()
    assert set(found) == {kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items():
        info = found[kind.value]
        fields = {field.name: field for field in dataclasses.fields(config) if field.name not in OWN}
        assert info.config == config.__name__
        assert set(info.settings) == set(fields)
        for name, field in fields.items():
            made = field.default_factory
            default = field.default if made is dataclasses.MISSING else made()
            stated = info.settings[name]
            assert stated is not UNSTATED
            assert stated == default
            assert isinstance(default, type(stated))


def test_they_are_known_without_torch() -> None:
    code = (
        "import sys; from autolora_bench.config.peft_types import peft_types; peft_types(); "
        "assert not {'torch', 'peft'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_file_and_the_same_settings_by_hand_are_one_method(tmp_path: Path) -> None:
    """Whatever PEFT writes beside the settings, defaults spelt out or not, names in any order."""
    path = tmp_path / "adapter_config.json"
    said = {
        "peft_type": "BOFT",
        "boft_block_size": 8,
        "boft_dropout": 0,
        "target_modules": ["value", "query"],
    }
    path.write_text(
        json.dumps(said | {"task_type": "CAUSAL_LM", "inference_mode": True, "peft_version": "1"})
    )
    by_hand = composed(
        "method.type=boft", "+method.settings={boft_block_size: 8, target_modules: [query, value]}"
    )
    for place in (path, tmp_path):
        assert config_id(composed(f"method.config={place}")) == config_id(by_hand)
    assert by_hand.method.settings == {"boft_block_size": 8, "target_modules": ["query", "value"]}
    assert (by_hand.method.name, by_hand.method.title) == ("peft_boft", "BOFT")


def test_the_content_of_a_file_decides_the_id_and_not_its_name(tmp_path: Path) -> None:
    ids = set()
    for number in (4, 8):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps({"peft_type": "MISS", "r": number}))
        ids.add(config_id(composed(f"method.config={path}")))
        path.write_text(json.dumps({"peft_type": "MISS", "r": 2 * number}))
        ids.add(config_id(composed(f"method.config={path}")))
    assert len(ids) == 3


def test_a_word_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({"peft_type": "MISS", "r": 4, "miss_dropout": 0.3}))
    method: Any = composed(f"method.config={path}", "+method.settings={r: 64}", "method.dropout=0.1").method
    assert method.settings == {"miss_dropout": 0.1}


def test_the_command_says_the_method_that_can_be_chosen() -> None:
    experiment = composed("method.type=BOFT")
    assert command_line(experiment, ["method.type=BOFT"]).endswith("method=peft")


REFUSED = [
    (["method.type=BOFF"], "BOFF is no type", "BOFT"),
    ([], "needs a type", "adapter_config.json"),
    (
        ["method.type=BOFT", "+method.settings={boft_block_sizes: 8}"],
        "no setting boft_block_sizes",
        "boft_block_size",
    ),
    (["method.type=BOFT", "+method.settings={task_type: SEQ_CLS}"], "the task decides it", "leave it out"),
    (
        ["method.type=ADALORA", "+method.settings={total_step: 9}"],
        "the run's number of steps",
        "leave it out",
    ),
    (["method.type=IA3", "method.dropout=0.1"], "drops no inputs", "leave it out"),
    (
        ["method.type=MISS", "method.dropout=0.1", "+method.settings={miss_dropout: 0.2}"],
        "miss_dropout=0.2",
        "one",
    ),
    (["method.type=XLORA"], "adapters that were trained before", "another type"),
    (["method.type=PROMPT_TUNING"], "needs num_virtual_tokens", "num_virtual_tokens: ..."),
    (["method.type=TRAINABLE_TOKENS", "+method.settings={token_indices: []}"], "needs token_indices", "..."),
    (["method.type=LORA", "+method.settings={init_lora_weights: eva}"], "init_lora_weights=eva", "start=eva"),
    (["method.type=LORA", "+method.settings={init_lora_weights: lora_ga}"], "lora_ga", "start=lora_ga"),
    (
        ["method.type=LORA", "+method.settings={init_lora_weights: pissa_niter_4}"],
        "pissa_niter_4",
        "start=pissa",
    ),
    (["method.type=LORA", "+method.settings={init_lora_weights: corda}"], "by this project", "start=corda"),
    (["method.type=LORA", "+method.settings={init_lora_weights: OLoRA}"], "weights=OLoRA is", "start=olora"),
    (["method.type=LORA", "+method.settings={init_lora_weights: CorDA_KPM}"], "CorDA_KPM", "start=corda"),
    (["method.type=LORA", "+method.settings={init_lora_weights: loftq}"], "quantised", "another start"),
    (
        ["method.type=PREFIX_TUNING", "+method.settings={num_virtual_tokens: 2, token_dim: 384}"],
        "token_dim cannot be said: it is the model's",
        "leave it out",
    ),
    (
        ["method.type=IA3", "model.targets=[query]"],
        "model.targets=[query]",
        "target_modules and feedforward_m",
    ),
    (
        ["method.type=LN_TUNING", "model=any", "model.checkpoint=any", "model.targets=all-linear"],
        "LN_TUNING of PEFT does not go where model.targets=all-linear says",
        "model.targets=null",
    ),
    (["method.type=LORA", "+method.settings={use_qalora: true}"], "quantised", "leave it out"),
    (
        ["method.type=IA3", "+method.settings={feedforward_modules: [value]}"],
        "feedforward_modules of IA3 without target_modules",
        "name the layers",
    ),
    (
        ["method.type=LORA", "+method.settings={layer_replication: [[0, 2], [1, 3]]}"],
        "layer_replication of LORA without target_modules",
        "name the layers",
    ),
    (
        ["method.type=LORA", "+method.settings={target_modules: [query]}", "model.targets=[key]"],
        "model.targets=[key] and the target_modules of LORA",
        "say one of them",
    ),
    (
        [
            "method.type=CPT",
            "+method.settings={cpt_token_ids: [1], cpt_mask: [1], cpt_tokens_type_mask: [1]}",
        ],
        "CPT",
        "generation",
    ),
    (
        ["method.type=ADAPTION_PROMPT", "+method.settings={adapter_len: 1, adapter_layers: 1}"],
        "no place for a head",
        "generation",
    ),
    (["method.type=SHADOW", "model.architecture=bert"], "does not work on a bert model", "llama"),
    (
        ["method.type=CARTRIDGE", "+method.settings={num_virtual_tokens: 2}", "train.padding_free=true"],
        "padding_free",
        "leave it out",
    ),
    (
        ["method.type=SHADOW", "model.architecture=llama", "train.label_smoothing=0.1"],
        "a loss of its own",
        "leave both out",
    ),
    (["method.config=/no/such/file.json"], "/no/such/file.json", "adapter_config.json"),
]


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize(("words", "what", "mend"), REFUSED)
def test_what_cannot_be_is_refused_in_two_lines(words: list[str], what: str, mend: str) -> None:
    with pytest.raises(UserError) as error:
        composed(*words)
    assert what in error.value.what
    assert mend in error.value.mend
    assert "\n" not in error.value.what + error.value.mend


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "no JSON"),
        ('{"r": 8}', "names no peft_type"),
        ('{"peft_type": "BOFT", "new": 1}', "no setting new"),
    ],
)
def test_so_is_a_file_that_is_none(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "adapter_config.json"
    path.write_text(text)
    with pytest.raises(UserError, match=what):
        composed(f"method.config={path}")


def test_a_file_of_another_type_than_was_said(tmp_path: Path) -> None:
    path = tmp_path / "adapter_config.json"
    path.write_text('{"peft_type": "BOFT"}')
    with pytest.raises(UserError, match="type BOFT"):
        composed(f"method.config={path}", "method.type=MISS")


def test_what_another_version_knows_and_left_empty_is_no_setting(tmp_path: Path) -> None:
    path = tmp_path / "adapter_config.json"
    path.write_text('{"peft_type": "C3A", "exclude_modules": null, "alpha_pattern": {}}')
    assert composed(f"method.config={path}").method.settings == {}


def test_a_setting_that_is_no_setting_is_one_when_it_is_0(tmp_path: Path) -> None:
    """0 equals False, which would be nothing."""
    path = tmp_path / "adapter_config.json"
    path.write_text('{"peft_type": "ADALORA", "orth_reg_weigth": 0}')
    with pytest.raises(UserError, match="no setting orth_reg_weigth") as refused:
        composed(f"method.config={path}")
    assert "orth_reg_weight" in refused.value.mend


@pytest.mark.parametrize(
    ("kind", "places"), [("LN_TUNING", ""), ("IA3", "target_modules: [key], feedforward_modules: []")]
)
def test_targets_of_a_users_own_model_are_said_to_be_none_beside_a_type_that_goes_elsewhere(
    kind: str, places: str, tmp_path: Path
) -> None:
    """Typed or stated, they would be passed over."""
    (tmp_path / "model").mkdir()
    stated = "defaults: [/schema/model@_here_]\nname: ours\ncheckpoint: any\n"
    (tmp_path / "model" / "ours.yaml").write_text(f"{stated}targets: [query, value]\n")
    (tmp_path / "model" / "plain.yaml").write_text(stated)
    words = [search_path(tmp_path), f"method.type={kind}", f"+method.settings={{{places}}}"]
    for targeted in (["model=ours"], ["model=plain", "model.targets=[query, value]"]):
        with pytest.raises(UserError, match=r"does not go where model.targets=\[query,value\]") as refused:
            composed(*words, *targeted)
        assert "model.targets=null where the model's file says it" in refused.value.mend
    assert composed(*words, "model=ours", "model.targets=null").model.targets is None
    assert composed(*words, "model=plain").model.targets is None
    other = [search_path(tmp_path), "model=ours", "method.type=BOFT"]
    assert composed(*other).model.targets == ["query", "value"]


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "PROMPT_TUNING"])
def test_the_sizes_of_the_model_that_a_prompt_was_made_for_are_no_settings(kind: str, tmp_path: Path) -> None:
    """One training has one id, and its record says nothing of another model."""
    path = tmp_path / "adapter_config.json"
    plain = {"peft_type": kind, "num_virtual_tokens": 4}
    names = ("token_dim", "num_layers", "num_attention_heads", "num_transformer_submodules")
    ids = set()
    for sizes in ((), (3072, 28, 24, 1), (384, 6, 12, 2)):
        path.write_text(json.dumps(plain | dict(zip(names, sizes, strict=False))))
        experiment = composed(f"method.config={path}")
        assert experiment.method.settings == {"num_virtual_tokens": 4}
        ids.add(config_id(experiment))
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("name", "value", "nothing"),
    [("modules_to_save", ["lm_head"], "null"), ("rank_pattern", {"up": 2}, "{}")],
)
def test_a_word_takes_a_setting_of_a_file_back(name: str, value: Any, nothing: str, tmp_path: Path) -> None:
    """As the line says that refuses a name which the model has not."""
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({"peft_type": "LORA", "r": 4, name: value}))
    found = composed(f"method.config={path}", f"+method.settings={{{name}: {nothing}}}")
    assert found.method.settings == {"r": 4}


def test_a_sweep_over_targets_leaves_out_what_goes_elsewhere_and_says_so() -> None:
    words = ("task=sst2", "data=generated", "method=peft", "model.targets=[key]", "method.type=BOFT,IA3")
    planned = plan(Request(words, multirun=True))
    assert [run.experiment.method.name for run in planned] == ["peft_boft"]
    [line] = planned.left_out
    assert "does not go where model.targets=[key] says" in line


def test_a_folders_own_architecture_decides_what_a_sweep_leaves_out(tmp_path: Path) -> None:
    """Without model.architecture: otherwise `check` calls a problem what a suite was to leave out."""
    words = ["task=sst2", "data=generated", "model=any", f"model.checkpoint={tmp_path}", "method=peft"]
    sweep = Request((*words, "method.type=LOHA,SHADOW"), multirun=True)
    places = []
    for said, left in (('{"model_type": "bert"}', 1), ('{"model_type": "llama"}', 0), ("[]", 0), ("{", 0)):
        (tmp_path / "config.json").write_text(said)
        planned = plan(sweep)
        assert len(planned.left_out) == left
        assert len(planned) == 2 - left
        places.append(planned[0].folder)
    assert len({*places}) == 1, "it is no part of what a run is"
    [*_] = plan(
        Request(("task=sst2", "data=generated", "model=any", "model.checkpoint=no/folder", "method=lora"))
    )


def test_parameters_beside_a_lora_of_the_projects_own_are_refused_before_anything_is_read() -> None:
    words = [
        "task=sst2",
        "data=generated",
        "method=lora",
        "+method.variant.options={target_parameters: [weight]}",
    ]
    with composer(), pytest.raises(UserError, match="target_parameters cannot be said: method=peft"):
        to_experiment(compose_config(words))


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_all_configurations_of_pefts_own_comparison_compose(every: int, peft_experiments: Path) -> None:
    """103 files, 39 types; those that share an id differ in nothing but the learning rate or the optimizer, which PEFT
    keeps elsewhere."""
    by_id: dict[str, list[tuple[str, Any]]] = {}
    types = set()
    words = ["task=e2e", "model.architecture=llama", "model=any", "model.checkpoint=any"]
    files = sorted(peft_experiments.glob("*.json"))
    assert len(files) == 103
    for path in files[::every]:
        experiment = composed(*words, f"method.config={path}")
        types.add(experiment.method.type)
        by_id.setdefault(config_id(experiment), []).append(
            (experiment.method.type, experiment.method.settings)
        )
    assert len(types) == 39 if every == 1 else len(types) > 5
    for same in by_id.values():
        assert all(one == same[0] for one in same)
    assert len(by_id) > 0.9 * len(files[::every])


@pytest.mark.slow
def test_the_suite_of_all_types_leaves_out_what_does_not_work_and_says_so() -> None:
    planned = plan(Request(("suite=peft_all", "data=generated")))
    kinds = {run.experiment.method.type for run in planned if hasattr(run.experiment.method, "type")}
    assert kinds == set(peft_types()) - {"ADAPTION_PROMPT", "CPT", "SHADOW", "XLORA"}
    assert [line.split()[0] for line in planned.left_out] == ["ADAPTION_PROMPT", "CPT", "SHADOW"]


def test_a_whole_number_may_be_written_as_a_fraction() -> None:
    spellings = [
        composed("method.type=LORA", f"+method.settings.lora_alpha={alpha}") for alpha in ("16", "16.0")
    ]
    assert len({config_id(one) for one in spellings}) == 1
