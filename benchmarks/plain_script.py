"""LoRA on MRPC as people write it with PEFT and the Trainer: one process, nothing of this project in it.

    python benchmarks/plain_script.py MODEL GLUE OUT [--examples 1000]

MODEL is a folder of weights, GLUE the publishers' files (GLUE/MRPC/train.tsv and dev.tsv). It trains one epoch in
batches of 16, scores the complete validation split after it, and saves adapter and scores into OUT.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from sklearn.metrics import accuracy_score, f1_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)


def read(path: Path, limit: int | None = None) -> Dataset:
    """Sentence pairs and labels of one of MRPC's files."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()[1:]
    rows = [line.split("\t") for line in lines][:limit]
    columns = {"first": 3, "second": 4}
    texts = {name: [row[place] for row in rows] for name, place in columns.items()}
    return Dataset.from_dict({**texts, "label": [int(row[0]) for row in rows]})


def scores(prediction: Any) -> dict[str, float]:
    """Accuracy and F1."""
    chosen = np.argmax(prediction.predictions, axis=-1)
    return {
        "accuracy": float(accuracy_score(prediction.label_ids, chosen)),
        "f1": float(f1_score(prediction.label_ids, chosen)),
    }


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
    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.model)

    def encode(rows: dict[str, list[Any]]) -> Any:
        return tokenizer(rows["first"], rows["second"], truncation=True, max_length=256)

    train = read(options.glue / "MRPC" / "train.tsv", options.examples).map(encode, batched=True)
    validation = read(options.glue / "MRPC" / "dev.tsv").map(encode, batched=True)
    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=2)
    lora = LoraConfig(
        task_type="SEQ_CLS", r=4, lora_alpha=16, lora_dropout=0.1, target_modules=["query", "value"]
    )
    arguments = TrainingArguments(
        output_dir=str(options.out),
        per_device_train_batch_size=16,
        per_device_eval_batch_size=64,
        num_train_epochs=1,
        learning_rate=1e-4,
        weight_decay=0.01,
        warmup_steps=0.06,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        use_cpu=True,
        seed=options.seed,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=get_peft_model(model, lora),
        args=arguments,
        train_dataset=train,
        eval_dataset=validation,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=scores,
    )
    trainer.train()
    trainer.save_model(str(options.out / "adapter"))
    (options.out / "scores.json").write_text(json.dumps(trainer.state.log_history))


if __name__ == "__main__":
    main()
