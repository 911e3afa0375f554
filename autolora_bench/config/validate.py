"""Settings that are each of the right type but make no sense, alone or together."""

import re
from functools import cache

from autolora_bench.config.allocators import GoraRanksConfig
from autolora_bench.config.architectures import ENCODER_DECODERS
from autolora_bench.config.computing import check_computing
from autolora_bench.config.data import HELD_OUT, Source
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.identity import SHUFFLED
from autolora_bench.config.memory import check_memory
from autolora_bench.config.method import AutoLoraConfig, HeadOnlyConfig, LoraConfig, MethodConfig
from autolora_bench.config.model import ModelConfig, known_architecture
from autolora_bench.config.padding import check_padding_free
from autolora_bench.config.peft_method import REFUSED, check_start
from autolora_bench.config.peft_support import check_peft
from autolora_bench.config.peft_types import peft_types
from autolora_bench.config.ranges import check_ranges
from autolora_bench.config.rates import Also, LearnedRatesConfig
from autolora_bench.config.registry import check_settings
from autolora_bench.config.steps import check_selection_moves
from autolora_bench.config.support import UnsupportedError, check_support
from autolora_bench.config.task import (
    TABLES,
    ClassificationTask,
    HubSource,
    Layout,
    RecoveryTask,
    RegressionTask,
)
from autolora_bench.config.trackers import TRACKERS
from autolora_bench.config.train import TrainConfig
from autolora_bench.config.truth import check_truth
from autolora_bench.config.variant import EvaConfig, GoraConfig, Start, VariantConfig
from autolora_bench.errors import UserError, nearest, require
from autolora_bench.paths import conf_dir
from autolora_bench.tables.read import FORMATS

HUB = re.compile(r"^hub: ([^\s#]+)", re.MULTILINE)
PACKAGE = re.compile(r"^ +names: \[([^\],]+)", re.MULTILINE)
SPLIT = re.compile(r"[a-z][a-z0-9_]*")
SPLITS = {Source.hub: "files", Source.local: "splits", Source.generated: "rows"}
"""What of a task's section on a source names its splits."""
PAIR = 2
"""Texts that a tokenizer takes."""
DEVICES = ("auto", "cpu", "cuda", "mps")
OWN_SETTINGS = {
    **dict.fromkeys(("r", "rank_pattern"), "the method decides the ranks"),
    **dict.fromkeys(("lora_alpha", "alpha_pattern"), "say method.alpha and method.scaling"),
    **dict.fromkeys(("target_modules", "exclude_modules", "layers_to_transform"), "say model.targets"),
    "target_parameters": "method=peft method.type=LORA alone adapts them",
    "layer_replication": "the model has the blocks that its weights are of",
    "lora_dropout": "say method.dropout",
    "modules_to_save": "the head is trained",
    "fan_in_fan_out": "it is found out for each layer",
    "use_dora": "say method.variant.dora",
    "use_rslora": "say method.variant.rslora",
    "eva_config": "say method.variant.eva",
    "lora_ga_config": "say method.variant.lora_ga",
    "corda_config": "say method.variant.corda",
    "kasa_config": "its loss is added by method=peft method.type=LORA alone",
    "monteclora_config": "its loss is added by method=peft method.type=LORA alone",
}
"""Options of PEFT's LoRA that a method here decides otherwise -> how."""


DRAWN = (Source.generated, Source.planted)
"""Sources whose examples data.generator_seed draws."""


def validate(experiment: ExperimentConfig, reads_data: bool = True) -> None:
    """Raises UserError at the first setting that cannot be.

    Args:
        experiment: what was composed.
        reads_data: whether it is to be run; a report of it needs no data.dir.
    """
    check_ranges(experiment, last="method")  # it repeats what the others say
    _validate_data(experiment, reads_data)
    _validate_splits(experiment)
    validate_train(experiment.train)
    _validate_names(experiment)
    require(
        experiment.device in DEVICES,
        f"device={experiment.device} is not known",
        f"choose among: {', '.join(DEVICES)}",
    )
    require(
        experiment.train.cpu_kernels is not True or experiment.device in ("auto", "cpu"),
        f"train.cpu_kernels=true is for a CPU, not for device={experiment.device}",
        "say device=cpu, or leave train.cpu_kernels out",
    )
    _validate_model(experiment.model)
    _validate_random_net(experiment)
    check_truth(experiment)
    smoothing = experiment.train.label_smoothing
    require(
        smoothing == 0 or not isinstance(experiment.task, RegressionTask | RecoveryTask),
        f"train.label_smoothing={smoothing:g} with task={experiment.task.name}, which has no labels to smooth",
        "say train.label_smoothing=0",
    )
    if isinstance(experiment.task, RegressionTask):
        low, high = experiment.task.minimum, experiment.task.maximum
        require(
            low < high,
            f"task.minimum={low:g} with task.maximum={high:g}",
            "say a smaller and a larger number",
        )
    _check_head_rate(experiment)
    if isinstance(experiment.task, ClassificationTask):
        language, languages = experiment.task.language, experiment.task.languages
        require(
            language is None or language in languages,
            f"task.language={language} with task={experiment.task.name}, which has "
            f"{', '.join(languages) or 'one language alone'}",
            "say one of them" if languages else "leave it out",
        )
    check_settings(experiment.method)
    variant = getattr(experiment.method, "variant", None)
    if isinstance(variant, VariantConfig):
        validate_variant(variant)
        _check_starts(variant, experiment.method)
    check_on_architecture(experiment, known_architecture(experiment.model))
    if isinstance(experiment.method, AutoLoraConfig):
        _check_search(experiment, "search", experiment.method.search.batch_size)
    if isinstance(experiment.method, LearnedRatesConfig):
        method, decay = experiment.method, experiment.train.weight_decay
        _check_search(experiment, "rates", method.rates.batch_size)
        require(
            Also.weight_decay not in method.rates.also
            or (decay if method.weight_decay is None else method.weight_decay) > 0,
            "method.rates.also=[weight_decay] with a weight decay of 0, and every multiple of 0 is 0",
            "say train.weight_decay=0.01, where it starts",
        )


def check_on_architecture(experiment: ExperimentConfig, architecture: str | None) -> None:
    """Raises UserError at the first of method, task and settings that does not work on a model of this `model_type`, or
    on none where that is not known. It is asked of what is composed, of the model's files and of the loaded model."""
    check_support(experiment.method, experiment.task, architecture)
    reads = architecture not in (None, *ENCODER_DECODERS)
    if reads and isinstance(experiment.task, ClassificationTask | RegressionTask):
        check_texts(experiment.task)
    check_padding_free(experiment, architecture)
    check_peft(experiment, architecture)
    check_memory(experiment, architecture)
    check_computing(experiment, architecture)


def _check_head_rate(experiment: ExperimentConfig) -> None:
    """Where nothing but the head is trained, two rates would be one too many, and the method's without effect."""
    of_head, of_method = experiment.train.head_learning_rate, experiment.method.learning_rate
    require(
        not isinstance(experiment.method, HeadOnlyConfig) or of_head in (None, of_method),
        f"method={experiment.method.name} trains the head alone, and is given two rates for it: "
        f"train.head_learning_rate={of_head} and method.learning_rate={of_method:g}",
        "say train.head_learning_rate=null, or the same in both",
    )


def _check_search(experiment: ExperimentConfig, name: str, size: int) -> None:
    parts = experiment.train.accumulation
    require(
        size % parts == 0,
        f"train.accumulation={parts} does not divide method.{name}.batch_size={size}",
        "say a divisor of the batch size",
    )
    check_selection_moves(experiment)


def _validate_model(model: ModelConfig) -> None:
    """A record must not carry the name of one model and the weights of another."""
    require(
        model.checkpoint is None or (model.hub is None and model.package is None),
        f"model={model.name} has weights of its own, model.checkpoint={model.checkpoint} names others",
        f"say model=any model.checkpoint={model.checkpoint}",
    )
    own = _hub_of(model)
    require(
        model.hub is None or own in (None, model.hub),
        f"model.hub={model.hub}, and the weights of model={model.name} are those of {own}",
        f"say model=any model.checkpoint={model.hub}",
    )


def _hub_of(model: ModelConfig) -> str | None:
    """What the file of a shipped model says, whatever words have named the model; None for models of the user's own."""
    hubs = _shipped_hubs()
    return hubs.get(model.name) or hubs.get(model.package.names[0] if model.package is not None else "")


@cache
def _shipped_hubs() -> dict[str, str]:
    """Name of a shipped model, and of the first of its packages -> its name on the hub."""
    found: dict[str, str] = {}
    for path in (conf_dir() / "model").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        hub, package = HUB.search(text), PACKAGE.search(text)
        if hub:
            found |= dict.fromkeys([path.stem, *([package[1]] if package else [])], hub[1])
    return found


def _validate_random_net(experiment: ExperimentConfig) -> None:
    if experiment.model.random is None:
        return
    if not isinstance(experiment.task, RecoveryTask) or experiment.data.source is not Source.planted:
        raise UnsupportedError(
            f"model={experiment.model.name} has random weights and reads no text: it is for task=planted data=planted, "
            f"not for task={experiment.task.name} data={experiment.data.source.name}",
            "choose another model, or say task=planted data=planted",
        )


def _validate_names(experiment: ExperimentConfig) -> None:
    """Names become folders: none may lead out of the results folder."""
    for group in ("task", "model", "method"):
        name = getattr(experiment, group).name
        require(
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None,
            f"{group}.name={name} cannot be a folder's name",
            "say letters, digits, dots, dashes and underscores, the first a letter or digit",
        )


def _validate_data(experiment: ExperimentConfig, reads_data: bool) -> None:
    data, task = experiment.data, experiment.task
    require(
        data.source is not Source.local or data.dir is not None or not reads_data,
        "data=local needs data.dir",
        "say data.dir=FOLDER with the publishers' files (docs/data.md), or data=generated",
    )
    require(
        not data.generator_seed or data.source in DRAWN,
        f"data.generator_seed={data.generator_seed} with data={data.source.name}, whose examples are not drawn",
        "leave it out: seed=N is the run's own",
    )
    require(
        not data.held_out or not isinstance(task, RecoveryTask),
        f"data.held_out={data.held_out:g} with task={task.name}, which has inputs of its own to choose settings by",
        "leave it out: the validation inputs are not trained on",
    )
    require(
        not data.shuffle_labels or isinstance(task, ClassificationTask | RegressionTask),
        f"data.shuffle_labels=true with task={task.name.removesuffix(SHUFFLED)}, whose examples have no single label",
        "leave it out, or take a task of sentences",
    )
    require(
        getattr(task, data.source.name) is not None or task.table is not None,
        f"task={task.name} says nothing of data={data.source.name}",
        f"add a `{data.source.name}:` section to its YAML, or choose another data",
    )
    require(
        "label" not in getattr(task, "texts", ()),
        f"task.texts={getattr(task, 'texts', ())}: label is the name of what is to be predicted",
        "give the column of texts another name",
    )
    if data.source is Source.hub and task.hub is not None and task.table is None:
        _validate_hub_layout(task.hub)


def check_texts(task: ClassificationTask | RegressionTask) -> None:
    """Refuse more texts than a tokenizer takes; an encoder-decoder is asked a question, which may hold any number.

    Raises:
        UserError: there are three or more.
    """
    require(
        len(task.texts) <= PAIR,
        f"task.texts={task.texts} names {len(task.texts)} columns, and the model reads one text or a pair",
        "name one column or two, or write several into one",
    )


def _validate_hub_layout(hub: HubSource) -> None:
    """The files' names fit what the YAML says of their content."""
    require(
        hub.layout is None or hub.layout in TABLES,
        f"task.hub.layout={hub.layout.name if hub.layout else ''} is a publisher's layout of local files",
        f"say {', '.join(layout.name for layout in TABLES)}, or leave it out",
    )
    said = hub.layout or Layout.parquet
    for split, file in ((split, file) for split, files in hub.files.items() for file in files):
        fitting = [one.name for one, endings in TABLES.items() if file.lower().endswith(endings)]
        require(
            said.name in fitting,
            f"task.hub.files.{split}: {file} is no {said.name} file",
            f"add `layout: {fitting[0]}` to hub of the task's YAML" if fitting else f"name one in {FORMATS}",
        )


def _validate_splits(experiment: ExperimentConfig) -> None:
    """What is scored is there, by a name that can be a file's, and was not trained on."""
    task, source = experiment.task, experiment.data.source.name
    require(
        len(task.evaluation) > 0,
        "task.evaluation=[] leaves nothing to choose the best epoch by",
        "name a split, as in task.evaluation=[validation]",
    )
    known = getattr(getattr(task, source), SPLITS.get(experiment.data.source, ""), None)
    if task.table is not None:
        known = None  # config.any_task found the splits in the data
    if isinstance(task, RecoveryTask):
        known = None  # splits are parts of the training inputs; check_truth has compared them with task.rows
    held_out = [HELD_OUT] if experiment.data.held_out else []
    for setting in ("evaluation", "test"):
        for split in (name for name in getattr(task, setting) if name not in held_out):
            require(
                split != "train" and SPLIT.fullmatch(split) is not None,
                f"task.{setting}={getattr(task, setting)}: {split!r} is no split that can be scored",
                "name validation, test, or validation_ and a word",
            )
            require(
                known is None or split in known,
                f"task.{setting}={getattr(task, setting)}: task={task.name} says nothing of a split {split} "
                f"with data={source}",
                f"add it to `{source}.{SPLITS.get(experiment.data.source)}` of its YAML, which has "
                f"{', '.join(known or [])}",
            )


def validate_train(train: TrainConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    unknown = sorted(set(train.trackers) - set(TRACKERS))
    require(not unknown, f"train.trackers={unknown} are not known", f"choose among: {', '.join(TRACKERS)}")
    require(
        train.batch_size % train.accumulation == 0,
        f"train.accumulation={train.accumulation} does not divide train.batch_size={train.batch_size}",
        "say a divisor of the batch size",
    )


def validate_variant(variant: VariantConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    ratio = variant.rate_ratio
    require(
        not (variant.lora_pro and variant.dora),
        "method.variant.lora_pro with method.variant.dora: LoRA-Pro's correction is that of W + scale B A alone",
        "say one of them",
    )
    require(
        not (variant.lora_pro and ratio != 1),
        f"method.variant.lora_pro with method.variant.rate_ratio={ratio}: LoRA-Pro gives A and B one learning rate",
        "say one of them",
    )
    if variant.options:
        _validate_options(variant)


def _check_starts(variant: VariantConfig, method: MethodConfig) -> None:
    """What says how one of the starts is made is refused beside another, where it would change nothing."""
    used = {variant.start, *([Start.gora] if isinstance(method, GoraRanksConfig) else [])}
    for start in (Start.lora_ga, Start.eva, Start.corda, Start.gora):
        own = getattr(variant, start.value)
        require(
            start in used or own == type(own)(),
            f"method.variant.{start.value} with method.variant.start={variant.start.value}, which has no use for it",
            f"leave it out, or say method.variant.start={start.value}",
        )
    require(
        variant.start is Start.gora or variant.gora.learning_rate == GoraConfig.learning_rate,
        f"method.variant.gora.learning_rate={variant.gora.learning_rate:g} with "
        f"method.variant.start={variant.start.value}, which takes no such step",
        "leave it out, or say method.variant.start=gora",
    )
    require(
        isinstance(method, LoraConfig) or variant.eva.rho == EvaConfig.rho,
        f"method.variant.eva.rho={variant.eva.rho:g} with method={method.name}, whose ranks are not EVA's to choose",
        "leave it out, or say method=eva",
    )


def _validate_options(variant: VariantConfig) -> None:
    known = peft_types()["LORA"].settings
    for name in variant.options:
        if name not in known:
            raise UserError(
                f"method.variant.options.{name} is no option of the installed PEFT's LoRA",
                f"{nearest(name, known)}it has: {', '.join(known)}",
            )
        require(
            name not in OWN_SETTINGS and name not in REFUSED,
            f"method.variant.options.{name} cannot be said: {OWN_SETTINGS.get(name) or REFUSED.get(name)}",
            "leave it out",
        )
    check_start(variant.options.get("init_lora_weights"))
    require(
        variant.start is Start.lora or "init_lora_weights" not in variant.options,
        f"method.variant.options.init_lora_weights with method.variant.start={variant.start.value}",
        "say one of them",
    )
    require(
        not variant.start.changes_weights and not variant.lora_pro,
        f"method.variant.options={variant.options} with "
        f"{'method.variant.lora_pro' if variant.lora_pro else f'method.variant.start={variant.start.value}'}, "
        "which knows the update scale B A alone",
        "say one of them",
    )
