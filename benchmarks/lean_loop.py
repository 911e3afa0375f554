"""AutoLoRA on MRPC as one would write it by hand: two passes a search step, no library beside transformers.

    python benchmarks/lean_loop.py MODEL GLUE OUT [--examples 1000]

Arguments as of plain_script.py. A search step is a forward and backward pass over a batch of the one half of the data,
which moves LoRA and head, and one over a batch of the other half, whose first-order gradient moves the selection
variables: the least that any search of this kind computes. Components of at least mean weight are kept (Zhang et al.,
2024, section 3.3), LoRA is trained again with these ranks on all examples, and the validation split is scored once. No
checkpoints, no record, no diagnostics.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from plain_script import read
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    get_linear_schedule_with_warmup,
    set_seed,
)

BATCH, COMPONENTS, RATE, SELECTION_RATE, ALPHA, DROPOUT = 16, 8, 1e-4, 1e-3, 16.0, 0.1


class Lora(nn.Module):
    """A frozen linear layer with a low-rank update; where it searches, softmax(beta) weights the components."""

    def __init__(self, base: nn.Linear, rank: int, searches: bool, dropout: float) -> None:
        super().__init__()
        self.base, self.dropout = base, nn.Dropout(dropout)
        self.a = nn.Parameter(torch.empty(rank, base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)
        self.beta = nn.Parameter(torch.ones(rank)) if searches else None
        self.scale = ALPHA / rank

    def forward(self, inputs: Tensor) -> Tensor:
        inside = self.dropout(inputs) @ self.a.T
        if self.beta is not None:
            inside = inside * torch.softmax(self.beta, 0)
        return self.base(inputs) + inside @ self.b.T * self.scale


def adapted(folder: str, ranks: list[int] | None, seed: int) -> nn.Module:
    """The model with a LoRA on every query and value; `ranks` of them, or searching ones."""
    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    model.requires_grad_(False)
    model.classifier.requires_grad_(True)
    own = iter(ranks or [])
    for block in model.bert.encoder.layer:
        attention = block.attention.self
        for name in ("query", "value"):
            rank = next(own) if ranks is not None else COMPONENTS
            lora = Lora(getattr(attention, name), rank, ranks is None, 0.0 if ranks is None else DROPOUT)
            setattr(attention, name, lora)
    return model.train()


def batches(rows: list[dict[str, list[int]]], tokenizer: object) -> Iterator[dict[str, Tensor]]:
    """One pass over the rows in random order."""
    order = torch.randperm(len(rows)).tolist()
    for start in range(0, len(order), BATCH):
        yield tokenizer.pad([rows[i] for i in order[start : start + BATCH]], return_tensors="pt")  # type: ignore[attr-defined]


def optimizer_of(weights: list[Tensor], steps: int, warmup: float) -> tuple[torch.optim.Optimizer, object]:
    """AdamW with the linear schedule."""
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01)
    return optimizer, get_linear_schedule_with_warmup(optimizer, int(warmup * steps), steps)


def search(folder: str, rows: list[dict[str, list[int]]], tokenizer: object, seed: int) -> list[int]:
    """The ranks of all layers."""
    model = adapted(folder, None, seed)
    layers = [module for module in model.modules() if isinstance(module, Lora)]
    betas = [layer.beta for layer in layers]
    weights = [w for n, w in model.named_parameters() if w.requires_grad and not n.endswith("beta")]
    half = len(rows) // 2
    steps = -(-half // BATCH)
    optimizer, schedule = optimizer_of(weights, steps, 0.0)
    selection = torch.optim.AdamW(betas, lr=SELECTION_RATE, weight_decay=0.0)
    pairs = zip(batches(rows[:half], tokenizer), batches(rows[half:], tokenizer), strict=True)
    for training, validation in pairs:
        for inputs, moved in ((training, weights), (validation, betas)):
            gradients = torch.autograd.grad(model(**inputs).loss, moved)
            for weight, gradient in zip(moved, gradients, strict=True):
                weight.grad = gradient
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()  # type: ignore[attr-defined]
        selection.step()
    alphas = [torch.softmax(beta.detach(), 0) for beta in betas]
    return [int((alpha >= 1 / COMPONENTS).sum()) for alpha in alphas]


def retrain(
    folder: str, ranks: list[int], rows: list[dict[str, list[int]]], tokenizer: object, seed: int
) -> nn.Module:
    """A LoRA of these ranks, trained on all rows."""
    model = adapted(folder, ranks, seed)
    weights = [w for w in model.parameters() if w.requires_grad]
    optimizer, schedule = optimizer_of(weights, -(-len(rows) // BATCH), 0.06)
    for inputs in batches(rows, tokenizer):
        optimizer.zero_grad()
        model(**inputs).loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()  # type: ignore[attr-defined]
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("glue", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    rows = {}
    for split, limit in (("train", options.examples), ("dev", None)):
        table = read(options.glue / "MRPC" / f"{split}.tsv", limit)
        encoded = tokenizer(list(table["first"]), list(table["second"]), truncation=True, max_length=256)
        rows[split] = [
            {**{name: encoded[name][i] for name in encoded}, "labels": label}
            for i, label in enumerate(table["label"])
        ]
    ranks = search(options.model, rows["train"], tokenizer, options.seed)
    model = retrain(options.model, ranks, rows["train"], tokenizer, options.seed).eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(rows["dev"]), 64):
            inputs = tokenizer.pad(rows["dev"][start : start + 64], return_tensors="pt")
            right += int((model(**inputs).logits.argmax(-1) == inputs["labels"]).sum())
    options.out.mkdir(parents=True, exist_ok=True)
    trained = {name: w for name, w in model.named_parameters() if w.requires_grad}
    torch.save(trained, options.out / "weights.pt")
    (options.out / "scores.json").write_text(
        json.dumps({"accuracy": right / len(rows["dev"]), "ranks": ranks})
    )


if __name__ == "__main__":
    main()
