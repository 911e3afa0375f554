"""Tiny models in float64 and the bilevel problem that every estimator is tried on."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from autolora_bench.search import Hypergradient, InnerStep, Terms, attach, lora_factors, selection_for
from autolora_bench.search.hypergradient.step import RandomState

TARGETS = {"bert": ["query", "value"], "gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"]}
VOCABULARY = 50


def _base(kind: str, dropout: float, layers: int) -> torch.nn.Module:
    if kind == "bert":
        return BertForSequenceClassification(
            BertConfig(
                vocab_size=VOCABULARY,
                hidden_size=32,
                num_hidden_layers=layers,
                num_attention_heads=2,
                intermediate_size=48,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
            )
        )
    if kind == "gpt2":
        return GPT2ForSequenceClassification(
            GPT2Config(
                vocab_size=VOCABULARY,
                n_embd=32,
                n_layer=layers,
                n_head=2,
                n_positions=32,
                resid_pdrop=dropout,
                embd_pdrop=dropout,
                attn_pdrop=dropout,
                pad_token_id=0,
            )
        )
    return _in_double_precision(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=48,
            attention_dropout=dropout,
            pad_token_id=0,
        )
    )


def _in_double_precision(config: LlamaConfig) -> torch.nn.Module:
    """Llama whose norms stay in float64: its own cast to float32, too coarse for numerical
    differentiation."""
    model = LlamaForSequenceClassification(config)
    for name in [name for name, _ in model.named_modules()]:
        if name.endswith("norm"):
            model.set_submodule(name, torch.nn.RMSNorm(config.hidden_size, config.rms_norm_eps))
    return model


def tiny_model(
    kind: str = "bert", dropout: float = 0.1, layers: int = 2, r: int = 3, trained: bool = True, **lora: Any
) -> PeftModel:
    """A PEFT model in training mode; `trained` gives lora_B values other than zero."""
    torch.manual_seed(0)
    arguments = {
        "r": r,
        "lora_alpha": 4 * r,
        "target_modules": TARGETS[kind],
        "lora_dropout": dropout,
        **lora,
    }
    arguments["fan_in_fan_out"] = kind == "gpt2"
    config = LoraConfig(task_type="SEQ_CLS", init_lora_weights=not trained, **arguments)
    return get_peft_model(_base(kind, dropout, layers), config).double().train()


def examples(seed: int, rows: int = 6, tokens: int = 7) -> dict[str, Tensor]:
    """A batch of random tokens with random labels."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (rows, tokens), generator=generator)
    labels = torch.randint(0, 2, (rows,), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def loss_of(model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return model(**batch).loss


class Problem:
    """Two micro-batches, one validation batch, a real optimizer, and L_val(W_hat(beta), beta) as a
    function."""

    def __init__(
        self,
        model: PeftModel,
        optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
        constraint: str = "softmax",
        max_grad_norm: float = 0.0,
        warm: int = 0,
    ) -> None:
        self.model = model
        self.selection = selection_for(model, constraint).double()
        self.selection.beta.data += 0.3 * torch.randn(
            self.selection.beta.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64
        )
        self.selection.refresh()
        attach(model, self.selection)
        self.weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.optimizer = optimizer(list(self.weights.values()))
        self.max_grad_norm = max_grad_norm
        self.micro = [examples(1), examples(2)]
        self.validation = examples(3)
        for i in range(warm):
            self.micro = [examples(10 + 2 * i), examples(11 + 2 * i)]
            self._move(self.new_step())
        self.start = self._snapshot()

    def new_step(self) -> InnerStep:
        return InnerStep(
            model=self.model,
            selection=self.selection,
            optimizer=self.optimizer,
            weights=self.weights,
            factors=lora_factors(self.model),
            training_loss=lambda model, batch: loss_of(model, batch) / 2,
            validation_loss=loss_of,
            validation=self.validation,
            max_grad_norm=self.max_grad_norm,
            remember=True,
        )

    def terms(self, estimator: Hypergradient) -> Terms:
        """The estimator's terms at the starting point, through its own hooks."""
        self._restore()
        step = self.new_step()
        self._move(step, estimator)
        return estimator.terms(step)

    def beta_gradient(self, estimator: Hypergradient) -> Tensor:
        return self.selection.pull_back(self.terms(estimator).total)

    def numerical(self, h: float = 1e-5) -> Tensor:
        """d L_val(W_hat(beta), beta) / d beta by central differences through the real optimizer step."""
        gradient = torch.zeros_like(self.selection.beta)
        for index in torch.cartesian_prod(*(torch.arange(n) for n in gradient.shape)).tolist():
            values = [self._value(tuple(index), sign * h) for sign in (1, -1)]
            gradient[tuple(index)] = (values[0] - values[1]) / (2 * h)
        return gradient

    def _value(self, index: tuple[int, ...], change: float) -> float:
        self._restore()
        with torch.no_grad():
            self.selection.beta[index] += change
        self.selection.refresh()
        self._move(self.new_step())
        with torch.no_grad():
            value = loss_of(self.model, self.validation).item()
            self.selection.beta[index] -= change
        self.selection.refresh()
        return value

    def _move(self, step: InnerStep, estimator: Hypergradient | None = None) -> None:
        if estimator is not None:
            estimator.prepare(step)
        for batch in self.micro:
            step.record(batch)
            if estimator is None:
                step.loss(batch).backward()
            else:
                estimator.training_pass(step, batch)
        if self.max_grad_norm:
            step.gradient_norm = torch.nn.utils.clip_grad_norm_(step.parameters, self.max_grad_norm)
        self.optimizer.step()
        if estimator is None:
            self.optimizer.zero_grad()

    def _snapshot(self) -> tuple[Any, ...]:
        weights = [w.detach().clone() for w in self.weights.values()]
        state = {
            w: {k: v.clone() if isinstance(v, Tensor) else v for k, v in s.items()}
            for w, s in self.optimizer.state.items()
        }
        return weights, state, RandomState.capture(self.selection.beta.device)

    def _restore(self) -> None:
        weights, state, random = self.start
        with torch.no_grad():
            for w, value in zip(self.weights.values(), weights, strict=True):
                w.copy_(value)
        self.optimizer.state.clear()
        for w, s in state.items():
            self.optimizer.state[w] = {k: v.clone() if isinstance(v, Tensor) else v for k, v in s.items()}
        self.optimizer.zero_grad()
        random.restore()


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


def relative(a: Tensor, b: Tensor) -> float:
    """Largest difference over the reference's largest magnitude."""
    error = float((a - b).abs().max() / b.abs().max())
    assert not math.isnan(error)
    return error


OPTIMIZERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "adamw": lambda w: torch.optim.AdamW(w, lr=1e-2, weight_decay=0.1),
    "adamw_fused": lambda w: torch.optim.AdamW(w, lr=1e-2, weight_decay=0.1, fused=True),
    "sgd": lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
}


class Toys:
    """The helpers above, for tests: modules beside a conftest cannot be imported under importlib mode."""

    model = staticmethod(tiny_model)
    examples = staticmethod(examples)
    loss = staticmethod(loss_of)
    cosine = staticmethod(cosine)
    relative = staticmethod(relative)
    problem = Problem
    optimizers = OPTIMIZERS


@pytest.fixture(scope="session")
def toys() -> type[Toys]:
    return Toys
