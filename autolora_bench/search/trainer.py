"""The search as a Hugging Face Trainer: weights and selection variables in turn, with one optimizer.

AutoLoRA, section 3. The Trainer's own step moves the weights (beta has no gradient then). Right after it, while
the weights' `.grad` and the moments are still those of that step, the hypergradient becomes beta's gradient, the
weights' gradients are removed, and the same optimizer steps again: only beta moves. So a checkpoint's optimizer
holds both. Under mirror descent beta has a parameter group, for its learning rate, but no moments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import Trainer, TrainingArguments

from autolora_bench.config.search import SelectionOptimizer
from autolora_bench.search.callback import SelectionCallback
from autolora_bench.search.diagnostics import compare, exact_terms
from autolora_bench.search.hypergradient import InnerStep, estimator
from autolora_bench.search.layers import lora_factors
from autolora_bench.search.options import SearchOptions, check_supported, computes_in_16_bits
from autolora_bench.search.ranks import RankAllocation
from autolora_bench.search.selection import Selection, attach
from autolora_bench.search.storage import Trajectory, load_selection, save_selection
from autolora_bench.search.validation import ValidationStream


class SearchTrainer(Trainer):
    """Trains LoRA, head and selection variables together.

    Args:
        model: PEFT LoRA model of one rank; the selection is attached here (`detach(trainer.handles)` undoes
            it).
        args: of the weights: optimizer, learning rate, schedule, clipping, batch size, precision,
            checkpoints.
        train_dataset: D_tr.
        validation_dataset: D_val, the other half of the training data. Not the evaluation set.
        selection: see `selection_for`.
        options: see `SearchOptions`.
        trajectory: file of alpha over time; `trajectory.jsonl` in the output folder by default.
        trainer_arguments: everything else that `transformers.Trainer` takes.

    Raises:
        UserError: a combination of model, args and options that would not compute what it says.
    """

    def __init__(
        self,
        *,
        model: PeftModel,
        args: TrainingArguments,
        train_dataset: Any,
        validation_dataset: Any,
        selection: Selection,
        options: SearchOptions | None = None,
        trajectory: str | Path | None = None,
        **trainer_arguments: Any,
    ) -> None:
        self.options = options or SearchOptions()
        self.hypergradient = estimator(self.options.hypergradient)
        check_supported(model, args, self.options, self.hypergradient)
        super().__init__(model=model, args=args, train_dataset=train_dataset, **trainer_arguments)
        self.selection = selection.to(args.device)
        self.handles = attach(model, self.selection)
        self.trajectory = Trajectory(
            trajectory or Path(str(args.output_dir)) / "trajectory.jsonl", self.options.points
        )
        self._model = model
        self._weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._factors = lora_factors(model)
        self._validation = self._validation_stream(validation_dataset)
        self._step: InnerStep | None = None
        self.diagnosis: dict[str, float] = {}
        self.add_callback(SelectionCallback(self))

    def allocation(self) -> RankAllocation:
        """Ranks by the options' rule, from the variables as they are now."""
        return self.options.allocate(self.selection)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The Trainer's optimizer with one more parameter group, last: beta."""
        optimizer: Optimizer = super().create_optimizer(model)
        if not any(p is self.selection.beta for p in optimizer.param_groups[-1]["params"]):
            group = {"params": [self.selection.beta], "lr": self.options.learning_rate, "weight_decay": 0.0}
            if self.options.betas is not None:
                group["betas"] = self.options.betas
            optimizer.add_param_group(group)
        return optimizer

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """One micro-batch; in a selection step the estimator runs the pass."""
        if (self.state.global_step + 1) % self.options.interval:
            plain: Tensor = super().training_step(model, inputs, num_items_in_batch)
            return plain
        model.train()
        if self._step is None:
            self._step = self._begin_step(model)
            self.hypergradient.prepare(self._step)
        batch = (self._prepare_inputs(inputs), num_items_in_batch)
        self._step.record(batch)
        return self.hypergradient.training_pass(self._step, batch)

    def selection_step(self) -> None:
        """Move beta; called between the weight step and `zero_grad`."""
        step = self._step
        if step is None:
            return
        exact = exact_terms(step) if self._diagnoses() else None
        terms = self.hypergradient.terms(step)
        self._move_selection(terms.total)
        self.hypergradient.finish(step)
        self.diagnosis = {} if exact is None else compare(terms, exact)
        self._step = None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean rank under the rule to every progress line."""
        if "loss" in logs:
            logs["mean_rank"] = self.allocation().mean
        super().log(logs, start_time)

    def _begin_step(self, model: nn.Module) -> InnerStep:
        index = (self.state.global_step + 1) // self.options.interval - 1
        return InnerStep(
            model=self._model,
            selection=self.selection,
            optimizer=self._torch_optimizer(),
            weights=self._weights,
            factors=self._factors,
            training_loss=self._training_loss,
            validation_loss=self._validation_loss,
            validation=self._prepare_inputs(self._validation.batch(index)),
            parallel=model,
            max_grad_norm=self.args.max_grad_norm or 0.0,
            half_precision=computes_in_16_bits(self._model, self.args),
            remember=self.hypergradient.remembers or self._diagnoses(),
        )

    def _torch_optimizer(self) -> Optimizer:
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        assert isinstance(optimizer, Optimizer)
        return optimizer

    def _validation_loss(self, model: nn.Module, batch: dict[str, Any]) -> Tensor:
        loss = self.compute_loss(model, dict(batch))
        assert isinstance(loss, Tensor)
        return loss

    def _training_loss(self, model: nn.Module, batch: tuple[dict[str, Any], Any]) -> Tensor:
        inputs, items = batch
        loss = self.compute_loss(model, dict(inputs), num_items_in_batch=items)
        assert isinstance(loss, Tensor)
        by_model = self.model_accepts_loss_kwargs and items is not None
        scaled = getattr(self, "loss_is_scaled_for_ga", None)
        scaled = by_model or self.compute_loss_func is not None if scaled is None else scaled
        return loss if scaled else loss / self.current_gradient_accumulation_steps

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        norm: Tensor = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        if self._step is not None:
            self._step.gradient_norm = norm
        return norm

    def _move_selection(self, gradient: Tensor) -> None:
        optimizer = self._torch_optimizer()
        if not self.options.scheduled:
            optimizer.param_groups[-1]["lr"] = self.options.learning_rate
        for weight in self._weights.values():
            weight.grad = None
        if self.options.optimizer is SelectionOptimizer.mirror_descent:
            self.selection.mirror_step(gradient, optimizer.param_groups[-1]["lr"])
        else:
            self.selection.beta.grad = self.selection.pull_back(gradient)
            optimizer.step()
            self.selection.beta.grad = None
        self.selection.refresh()

    def _diagnoses(self) -> bool:
        step = self.state.global_step + 1
        return any(step - self.options.interval < wanted <= step for wanted in self.options.diagnose_at)

    def _validation_stream(self, dataset: Any) -> ValidationStream:
        collate = self._get_collator_with_removed_columns(self.data_collator, description="validation")
        size = self.options.validation_batch_size or self.args.train_batch_size
        seed = self.args.seed if self.options.seed is None else self.options.seed
        lengths = [len(tokens) for tokens in dataset["input_ids"]] if self.options.group_by_length else None
        process, processes = self.args.process_index, self.args.world_size
        return ValidationStream(dataset, collate, size, seed, process, processes, lengths)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = output_dir or str(self.args.output_dir)
            save_selection(self.selection, folder)
            self.trajectory.save(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_selection(self.selection, resume_from_checkpoint)
        if self.args.should_save:
            self.trajectory.load(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        load_selection(self.selection, str(self.state.best_model_checkpoint))
