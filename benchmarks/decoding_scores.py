"""Whether bfloat16, or our attention of beams, costs the outputs of decoding anything: scores of E2E's test records.

    python benchmarks/decoding_scores.py --data DIR --records 630 --out FOLDER

The records are decoded in single precision and in bfloat16, with our attention and with PyTorch's; the outputs stay in
FOLDER, and an arm that is there is not decoded again, so that arms can be run side by side (--arms). Two things are
compared: BLEU, whose p-values are those of sacrebleu's approximate randomisation, and what beam search looks for, the
log-probability in single precision over length ** length_penalty, whose difference is given with its standard error.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

import torch
from datasets import Dataset
from decoding import choices, prepare
from peft import PeftModel
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from autolora_bench.config.task import DecodingConfig
from autolora_bench.methods.base import PhaseContext
from autolora_bench.models.merged import merged
from autolora_bench.tasks.base import EvaluationContext
from autolora_bench.tasks.generation import model as step_model
from autolora_bench.tasks.generation.decode import decode
from autolora_bench.tasks.inference import evaluation_mode

ARMS = {
    "fp32": (False, True),
    "fp32-pytorch": (False, False),
    "bf16": (True, True),
    "bf16-pytorch": (True, False),
}
"""Whether in bfloat16, and whether with our attention."""


def outputs_of(
    name: str, model: PeftModel, split: Dataset, context: PhaseContext, options: Namespace
) -> list[str]:
    """The arm's outputs, which are kept in the folder, beside what was asked for."""
    path = options.out / f"{name}.json"
    asked = [options.data, options.records, options.tune, options.words]
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["asked"] != asked:
            raise SystemExit(f"{path} is of {kept['asked']}, not of {asked}: choose another --out")
    else:
        half, shared = ARMS[name]
        settings = context.task.config.decoding  # type: ignore[attr-defined]
        evaluation = EvaluationContext(context.tokenizer, context.device, settings.batch_size, bf16=half)
        with patch.object(step_model, "can_share", step_model.can_share if shared else lambda _: False):
            kept = {"asked": asked, "outputs": decode(model, list(split["input_ids"]), settings, evaluation)}
        path.write_text(json.dumps(kept))
    outputs: list[str] = kept["outputs"]
    return outputs


@torch.inference_mode()
def objectives(
    outputs: Sequence[str], model: PeftModel, split: Dataset, context: PhaseContext, settings: DecodingConfig
) -> torch.Tensor:
    """(N,) log-probability of each output, with the end token, over its length ** length_penalty."""
    found = []
    evaluation = EvaluationContext(context.tokenizer, context.device, settings.batch_size)
    with merged(model) as plain, evaluation_mode(model, evaluation):
        for prompt, output in zip(split["input_ids"], outputs, strict=True):
            text = context.tokenizer(" " + output, add_special_tokens=False)["input_ids"]
            text = [*text, context.tokenizer.eos_token_id][: settings.max_new_tokens]
            logits = plain(torch.tensor([[*prompt, *text]])).logits[0, len(prompt) - 1 : -1]
            taken = logits.log_softmax(dim=-1).gather(1, torch.tensor(text).unsqueeze(1))
            found.append(float(taken.sum()) / len(text) ** settings.length_penalty)
    return torch.tensor(found, dtype=torch.double)


def main() -> None:
    parser = choices(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the outputs")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=ARMS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    context, model, split = prepare(options)
    settings = context.task.config.decoding  # type: ignore[attr-defined]
    outputs = {name: outputs_of(name, model, split, context, options) for name in options.arms}
    looked_for = {name: objectives(o, model, split, context, settings) for name, o in outputs.items()}
    references = list(split["references"])
    by_place = [
        [texts[place] if place < len(texts) else None for texts in references]
        for place in range(max(map(len, references)))
    ]
    print(f"{len(split)} records; rows: BLEU, and the mean of what beam search looks for")
    for name, texts in outputs.items():
        print(f"{name:14}{BLEU().corpus_score(texts, by_place).score:8.2f}{looked_for[name].mean():10.4f}")
    print(
        "pairs: same outputs, difference in BLEU with its p-value, in what is looked for with its standard error"
    )
    for one, other in combinations(outputs, 2):
        same = sum(a == b for a, b in zip(outputs[one], outputs[other], strict=True))
        test = PairedTest(
            [(other, outputs[other]), (one, outputs[one])],
            {"BLEU": BLEU(references=by_place)},
            references=None,
            test_type="ar",
            n_samples=10_000,
        )
        _, results = test()
        base, result = results["BLEU"]
        gap = looked_for[one] - looked_for[other]
        error = gap.std() / len(gap) ** 0.5
        chance = 1.0 if same == len(split) else result.p_value
        print(
            f"{f'{one} - {other}':30}{same:5}{result.score - base.score:8.2f}  p {chance:.3f}"
            f"{gap.mean():10.5f} ± {error:.5f}"
        )


if __name__ == "__main__":
    main()
