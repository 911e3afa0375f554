"""Options of the search, and what they cannot be combined with."""

from __future__ import annotations

from dataclasses import dataclass

from peft import PeftModel, get_peft_model_state_dict
from transformers import TrainingArguments

from autolora_bench.config.search import SEVERAL_STEPS, Rule, SelectionOptimizer
from autolora_bench.errors import UserError, member, require
from autolora_bench.search.bilevel import LoopOptions, computes_in_16_bits
from autolora_bench.search.hypergradient import Hypergradient
from autolora_bench.search.ranks import RankAllocation, RankRule
from autolora_bench.search.recomputation import recomputes
from autolora_bench.search.selection import Selection


@dataclass(frozen=True, kw_only=True)
class SearchOptions(LoopOptions):
    """How the selection variables are trained.

    Attributes:
        estimator: name of the estimator of the hypergradient, see `hypergradient.ESTIMATORS`.
        selection_optimizer: how the selection variables move.
        selection_learning_rate: of the selection variables (the paper: 1e-3).
        selection_betas: of their Adam; None takes those of the weights (the released code: 0.5, 0.999).
        scheduled: let the weights' schedule scale `selection_learning_rate` too; otherwise it is constant.
        diagnose_steps: weight steps at which to compare with the exact hypergradient (costs about four steps
            each); with an interval or several inner steps, the next selection step.
        rule, threshold, budget, minimum_rank: see `RankRule`; for the mean rank in the log and `allocation()`.
        interval, inner_steps, validation_batch_size, group_by_length, seed, points: see `LoopOptions`.

    Raises:
        UserError: a value out of range.
    """

    estimator: str = "closed_form"
    selection_optimizer: SelectionOptimizer = SelectionOptimizer.adamw
    selection_learning_rate: float = 1e-3
    selection_betas: tuple[float, float] | None = None
    scheduled: bool = False
    diagnose_steps: tuple[int, ...] = (1, 10, 50, 200)
    rule: Rule | str = Rule.reciprocal
    threshold: float | None = None
    budget: int | None = None
    minimum_rank: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        member(Rule, self.rule, "rule")
        require(
            self.selection_learning_rate >= 0,
            f"search with selection_learning_rate={self.selection_learning_rate}",
            "choose selection_learning_rate >= 0",
        )

    @property
    def rank_rule(self) -> RankRule:
        """What makes ranks of the variables."""
        return RankRule(member(Rule, self.rule, "rule"), self.threshold, self.budget, self.minimum_rank)

    def allocate(self, selection: Selection) -> RankAllocation:
        """Ranks by `rank_rule`, from the variables as they are."""
        rule = self.rank_rule
        values = selection.beta if rule.kind.reads_beta else selection.alpha()
        return rule.allocate(values, selection.modules_selected)


def check_supported(
    model: PeftModel, args: TrainingArguments, options: SearchOptions, estimator: Hypergradient
) -> None:
    """Refuse what would silently compute something else.

    Raises:
        UserError: with the way out.
    """
    name = options.estimator
    require(
        options.inner_steps == 1 or estimator.several_steps,
        f"estimator={name} with inner_steps={options.inner_steps}: it knows the way back through one step",
        f"use {', '.join(one.name for one in SEVERAL_STEPS)}, or inner_steps=1",
    )
    require(
        options.inner_steps >= estimator.least_steps,
        f"estimator={name} with inner_steps={options.inner_steps}: one step is no path to follow",
        "say inner_steps=2 or more, or use first_order",
    )
    if args.world_size > 1 and not estimator.distributed:
        raise UserError(f"estimator={name} runs in one process", "use one process or another estimator")
    if computes_in_16_bits(model, args) and not estimator.half_precision:
        raise UserError(f"estimator={name} is too coarse in 16 bits", "use closed_form or central_difference")
    check_recomputation(model, args, options, estimator)
    _check_saved(model)


def check_recomputation(
    model: PeftModel, args: TrainingArguments, options: SearchOptions, estimator: Hypergradient
) -> None:
    """Refuse gradient checkpointing where a pass is not at the model's own weights, which recomputed blocks find.

    Raises:
        UserError: with the way out.
    """
    if not recomputes(model, args):
        return
    require(
        not estimator.substitutes,
        f"gradient checkpointing recomputes with other weights than those of estimator={options.estimator}",
        "use first_order or closed_form, with diagnose_steps=(), or no gradient checkpointing",
    )
    require(
        not options.diagnose_steps,
        f"gradient checkpointing with diagnose_steps={options.diagnose_steps}: it recomputes with other weights than "
        "those of the exact hypergradient",
        "say diagnose_steps=(), or leave gradient checkpointing out",
    )


def _check_saved(model: PeftModel) -> None:
    adapters = [
        get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
        for name in model.peft_config
    ]
    saved = {tensor.data_ptr() for adapter in adapters for tensor in adapter.values()}
    lost = [name for name, p in model.named_parameters() if p.requires_grad and p.data_ptr() not in saved]
    if lost:
        raise UserError(
            f"{lost[0]} is trained but PEFT would not save it", "name its module in modules_to_save"
        )
