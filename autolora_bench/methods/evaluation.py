"""The phase that scores a task's test splits with the weights that were kept."""

import json
from dataclasses import dataclass
from typing import ClassVar

from autolora_bench.config.train import Precision
from autolora_bench.methods.base import Method, PhaseContext, PhaseResult
from autolora_bench.record import write_atomically
from autolora_bench.speedups.choice import kernels
from autolora_bench.tasks.base import PARTIAL, EvaluationContext
from autolora_bench.tasks.scoring import evaluation_of
from autolora_bench.training.progress import EvaluationProgress


@dataclass(frozen=True)
class EvaluatePhase:
    """Predicts every evaluation and test split in full; leaves the predictions, one JSON value per line.

    Scores of test splits become the run's; those of complete evaluation splits stand in the phase's details.
    """

    method: Method
    parallel: ClassVar[bool] = False
    name: str = "evaluate"

    def run(self, context: PhaseContext) -> PhaseResult:
        """Rebuild the trained model and score it."""
        folder = context.phase_folder(self.name)
        train = context.train
        model = self.method.rebuild(context)
        result = PhaseResult(artefact=self.name)
        with kernels(model, train):
            for split in dict.fromkeys([*context.task.config.evaluation, *context.task.config.test]):
                evaluation_context = EvaluationContext(
                    context.tokenizer,
                    context.device,
                    train.evaluation_batch_size,
                    bf16=train.precision is Precision.bf16,
                    folder=folder,
                    split=split,
                    progress=EvaluationProgress(f"{self.name} {split}"),
                )
                scored = context.task.evaluate(model, context.splits.held_out[split], evaluation_context)
                lines = "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in scored.predictions)
                write_atomically(folder / f"{split}.jsonl", lines)
                evaluation = evaluation_of(self.name, split, scored)
                if split in context.task.config.test:
                    result.test[split] = evaluation
                else:
                    result.details[split] = evaluation.scores
        for unfinished in folder.glob(f"*{PARTIAL}"):
            unfinished.unlink()
        return result
