"""Any configuration of PEFT as a method: an adapter_config.json, or a type with its settings.

What counts for a run's identity is the type and every setting that is not PEFT's default, wherever they were said:
`resolve_peft` puts what a file holds into the configuration before it is hashed.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.identity import LOCATION
from autolora_bench.config.method import MethodConfig
from autolora_bench.config.model import ALL_LINEAR, ALL_LINEAR_WORDS
from autolora_bench.config.peft_types import OWN, PeftTypeInfo, peft_types
from autolora_bench.config.ranges import Share, Text
from autolora_bench.config.registry import Support, method
from autolora_bench.config.support import UnsupportedError
from autolora_bench.errors import UserError, nearest
from autolora_bench.untrusted import in_a_line, parse_json, read_bytes

FILE = "adapter_config.json"
NAME = "peft"
UNORDERED = ("target_modules", "modules_to_save", "feedforward_modules", "exclude_modules")
"""Lists of names that PEFT keeps as sets."""
STARTS = ("pissa", "olora", "eva", "lora_ga", "corda")
"""Values of init_lora_weights that a phase of this project computes (config.variant.Start): PEFT leaves eva and lora_ga
with B = 0 where it is given no data, and corda needs the correlations of layers' inputs before it makes the model."""
NOTHING: tuple[Any, ...] = (None, False, [], {})
"""What another version of PEFT has written for a setting that it knows and that is switched off."""
NEEDED = {
    "ADAPTION_PROMPT": ("adapter_len", "adapter_layers"),
    "CARTRIDGE": ("num_virtual_tokens",),
    "CPT": ("cpt_token_ids", "cpt_mask", "cpt_tokens_type_mask"),
    "MULTITASK_PROMPT_TUNING": ("num_virtual_tokens",),
    "PREFIX_TUNING": ("num_virtual_tokens",),
    "PROMPT_TUNING": ("num_virtual_tokens",),
    "P_TUNING": ("num_virtual_tokens",),
    "TRAINABLE_TOKENS": ("token_indices",),
}
"""Settings without which a type does nothing, and for which PEFT has no default."""
FOUND = {"ADALORA": {"total_step": "it is the run's number of steps", "rank_pattern": "the run finds it"}}
"""Settings that a file may hold and that the run decides, by type."""
SIZES = dict.fromkeys(
    ("token_dim", "num_layers", "num_attention_heads", "num_transformer_submodules"), "it is the model's"
)
"""Settings of prompts that PEFT saves in a file, which may have been made for another model -> who decides them."""
PLACED = ("ADAPTION_PROMPT", "BEFT", "LN_TUNING", "SHADOW", "TRAINABLE_TOKENS")
"""Types that go elsewhere than into the linear layers that low-rank methods adapt: PEFT's table says where."""
ONLY_BESIDE_TARGETS = ("layers_pattern", "layer_replication", "feedforward_modules")
"""Settings that are about layers which a run that names none finds by itself, in its own way."""
REFUSED = {
    "alora_invocation_tokens": "PEFT finds them in a text itself, past the decoding of this project",
    "arrow_config": "it routes between adapters that were trained before",
    "megatron_config": "it is for models of Megatron",
    "use_qalora": "it is for quantised models",
}
"""Options of LoRA that are no training of one adapter on an ordinary model."""


@method(
    "peft",
    runs="autolora_bench.methods.peft_method:PeftMethod",
    family="peft",
    works_on=Support(encoder_decoders=True),
)
@dataclass
class PeftMethodConfig(MethodConfig):
    """Any type of PEFT with any of its settings; learning rate, weight decay and the head are the run's."""

    type: str | None = None
    """PEFT's name of the method, such as BOFT; `config` may say it too."""
    config: Text | None = field(default=None, metadata=LOCATION)
    """An adapter_config.json, or the folder that holds one: its settings are read into `settings`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The type's own settings by PEFT's names; they go before those of `config`. What is not said is PEFT's default,
    except the target layers, which are the model's."""
    dropout: Share | None = None
    """The type's own dropout of inputs, whatever PEFT calls it; none leaves it to `settings`."""

    @property
    def info(self) -> PeftTypeInfo:
        """What PEFT's source says of the type."""
        return peft_types()[str(self.type)]


def resolve_peft(experiment: ExperimentConfig) -> None:
    """Fill in type, settings, name and title of a method of PEFT from what was said and from its file.

    Raises:
        UserError: no type, an unknown one, a setting that the type does not have, a file that cannot be read.
    """
    method = experiment.method
    if not isinstance(method, PeftMethodConfig):
        return
    read = _read(method.config) if method.config is not None else {}
    method.type = _type(method, read)
    decided, known = _decided(method), method.info.settings
    filed = {
        name: value
        for name, value in read.items()
        if name not in decided and (name in known or not _is_nothing(value))
    }
    said = filed | _asked(method)
    _check_known(method, said)
    method.settings = _normal(method.info, said)
    _check_settings(method)
    _check_places(experiment, method)
    method.config = method.dropout = None
    if method.name == NAME:
        method.name = f"{NAME}_{method.type.lower()}"
    if method.title.upper() == NAME.upper():
        method.title = method.type


def choice_of(method: MethodConfig) -> str:
    """What `method=` has to say for a method: the types of PEFT have one choice together."""
    peft = isinstance(method, PeftMethodConfig) and method.name == f"{NAME}_{str(method.type).lower()}"
    return NAME if peft else method.name


def _read(place: str) -> dict[str, Any]:
    """What a file says of the method: PEFT's own entries are left out, but for the type."""
    path = Path(place).expanduser()
    path = path / FILE if path.is_dir() else path
    try:
        found = parse_json(read_bytes(path))
    except OSError as error:
        raise UserError(
            f"method.config={place}: {error.strerror or error}", f"name a {FILE} or the folder that holds it"
        ) from error
    except ValueError as error:
        raise UserError(
            f"{path} is no JSON: {in_a_line(str(error))}", "PEFT's save_pretrained writes one"
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("peft_type"), str):
        raise UserError(f"{path} names no peft_type", f"name a {FILE} that PEFT has saved")
    return {name: value for name, value in found.items() if name not in OWN or name == "peft_type"}


def _type(method: PeftMethodConfig, read: dict[str, Any]) -> str:
    """The type's name, taken out of `read`."""
    asked, filed = method.type, read.pop("peft_type", None)
    name = str(asked or filed or "").upper()
    known = peft_types()
    if not name:
        raise UserError(
            "method=peft needs a type of PEFT",
            f"say method.config=FILE/{FILE}, or method.type=NAME with a name among: {', '.join(known)}",
        )
    if name not in known:
        raise UserError(
            f"method.type={asked or filed} is no type of the installed PEFT",
            f"{nearest(name, known)}autolora-bench ls methods shows all",
        )
    if asked and filed and filed.upper() != name:
        raise UserError(f"method.type={asked} with a method.config of type {filed}", "leave one of them out")
    return name


def _decided(method: PeftMethodConfig) -> dict[str, str]:
    """Settings that the run or its model decides -> why: a file's are passed over, and nobody can say them."""
    return FOUND.get(str(method.type), {}) | (SIZES if method.info.prompts else {})


def _is_nothing(value: Any) -> bool:
    """Whether it is of NOTHING; 0, which equals False, is something."""
    return any(type(value) is type(one) and value == one for one in NOTHING)


def _asked(method: PeftMethodConfig) -> dict[str, Any]:
    """The settings that were said, dropout among them."""
    owned = OWN | _decided(method)
    name = next((name for name in method.settings if name in owned), None)
    if name is not None:
        raise UserError(f"method.settings.{name} cannot be said: {owned[name]}", "leave it out")
    if method.dropout is None:
        return dict(method.settings)
    name = method.info.dropout
    if name is None:
        if method.dropout:
            raise UserError(
                f"method.dropout={method.dropout:g}: {method.type} drops no inputs", "leave it out"
            )
        return dict(method.settings)
    if method.settings.get(name, method.dropout) != method.dropout:
        raise UserError(
            f"method.dropout={method.dropout:g} and method.settings.{name}={method.settings[name]:g}",
            "say one of them",
        )
    return {**method.settings, name: method.dropout}


def _check_known(method: PeftMethodConfig, said: dict[str, Any]) -> None:
    known = method.info.settings
    strange = next((name for name in said if name not in known), None)
    if strange is not None:
        raise UserError(
            f"{method.type} of the installed PEFT has no setting {strange}",
            f"{nearest(strange, known)}it has: {', '.join(known)}",
        )


def _check_settings(method: PeftMethodConfig) -> None:
    """Raises UserError for what PEFT would train without a warning to no effect, or not at all."""
    kind, settings = str(method.type), method.settings
    if kind == "XLORA":
        raise UserError(
            "XLORA of PEFT mixes adapters that were trained before: it is no training of its own",
            "choose another type: autolora-bench ls methods",
        )
    missing = [name for name in NEEDED.get(kind, ()) if settings.get(name) in (None, [])]
    if missing:
        raise UserError(
            f"{kind} of PEFT needs {' and '.join(missing)}",
            f"say '+method.settings={{{', '.join(f'{name}: ...' for name in missing)}}}'",
        )
    refused = next((name for name in settings if name in REFUSED), None)
    if refused is not None:
        raise UserError(
            f"{refused} of PEFT's LoRA cannot be trained here: {REFUSED[refused]}", "leave it out"
        )
    if "init_lora_weights" in method.info.settings:
        check_start(settings.get("init_lora_weights"))


def _check_places(experiment: ExperimentConfig, method: PeftMethodConfig) -> None:
    """Raises UserError for settings of where a type goes that something else would overrule."""
    targets, settings = experiment.model.targets, method.settings
    named = settings.get("target_modules")
    if targets is not None:
        asked = ALL_LINEAR_WORDS[0] if targets == [ALL_LINEAR] else f"[{','.join(targets)}]"
        if method.type in (*PLACED, "IA3"):
            beside = " and feedforward_modules" if method.type == "IA3" else ""
            raise UnsupportedError(
                f"{method.type} of PEFT does not go where model.targets={asked} says",
                "leave it out, or say model.targets=null where the model's file says it; "
                f"other layers are target_modules{beside} in method.settings",
            )
        if named is not None:
            raise UserError(
                f"model.targets={asked} and the target_modules of {method.type}, {in_a_line(str(named))}",
                "say one of them; model.targets=null where the model's file says them",
            )
    alone = next((name for name in ONLY_BESIDE_TARGETS if settings.get(name) and named is None), None)
    if alone is not None:
        raise UserError(
            f"{alone} of {method.type} without target_modules", "name the layers in target_modules as well"
        )


def check_start(start: Any) -> None:
    """Raises UserError for a value of init_lora_weights that PEFT alone does not make a training of.

    PEFT itself takes some in any case, and names that go on behind pissa and corda.
    """
    name = str(start).lower()
    own = name[:5] if name.startswith(("pissa", "corda")) else name
    if own in STARTS:
        raise UserError(
            f"init_lora_weights={start} is computed by this project itself, before the training",
            f"say method=lora method.variant.start={own}",
        )
    if name == "loftq":
        raise UserError(
            f"init_lora_weights={start} puts quantised weights in the place of the pretrained ones, which the folder "
            "of an adapter does not hold",
            "choose another start",
        )


def _normal(info: PeftTypeInfo, said: dict[str, Any]) -> dict[str, Any]:
    """The settings that are not PEFT's defaults, names sorted, so that the same method always looks the same."""
    found = {}
    for name, value in sorted(said.items()):
        default = info.settings[name]
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        elif type(default) is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        if name in UNORDERED and isinstance(value, list):
            value = sorted(set(value))
        if type(value) is not type(default) or value != default:
            found[name] = value
    return found
