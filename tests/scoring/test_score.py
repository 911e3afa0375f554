"""`score` on files: forms it takes, and everything it refuses with the file and line."""

import json
import os
from pathlib import Path

import pytest

from autolora_bench.errors import UserError
from autolora_bench.scoring.score import score, score_files


@pytest.fixture
def write(tmp_path):
    def put(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return put


def refused(what, *arguments, **options):
    with pytest.raises(UserError) as caught:
        score_files(*arguments, **options)
    assert what in caught.value.what, caught.value.what
    assert caught.value.mend
    assert "\n" not in caught.value.what + caught.value.mend


REPORT_KEYS = {"task", "protocol", "mode", "n", "scores", "missing"}


@pytest.mark.parametrize(
    "content",
    [
        "1\t1\n0\t1\n1\t0\n0\t0\n",
        "1 1\r\n0 1\r\n1 0\r\n0 0",
        "\ufeffprediction\tlabel\n1\t1\n0\t1\n1\t0\n0\t0\n",
        "1.0 1\n0 1\n1 0\n0 0.0",
    ],
)
def test_two_columns_in_any_usual_form(write, content):
    report = score_files("mrpc", write("p.tsv", content))
    assert set(report) >= REPORT_KEYS
    assert report["n"] == 4
    assert report["scores"] == {"accuracy": 0.5, "f1": 0.5}
    json.dumps(report, allow_nan=False)


def test_two_files_names_and_chosen_metrics(write):
    predictions, labels = (
        write("p", "entailment\nnot_entailment\n"),
        write("l", "label\nentailment\nentailment\n"),
    )
    assert score_files("rte", predictions, labels)["scores"] == {"accuracy": 0.5}
    report = score_files("classification", predictions, labels, metrics="accuracy,matthews_correlation")
    assert report["scores"] == {"accuracy": 0.5, "matthews_correlation": 0.0}


def test_a_tasks_own_class_names_have_its_positive_class(write):
    named = score_files("mrpc", write("p", "equivalent equivalent\nequivalent not_equivalent\n"))
    assert named["scores"] == score_files("mrpc", write("p", "1 1\n1 0\n"))["scores"]
    assert named["scores"] == pytest.approx({"accuracy": 1 / 2, "f1": 2 / 3})


def test_classes_of_ones_own(write):
    assert score_files("classification", write("p", "a a\n7 b\n"), metrics="accuracy")["scores"] == {
        "accuracy": 0.5
    }
    assert score_files("classification", write("p", "1 1\n1 0\n"), metrics="f1")["scores"]["f1"] > 0.6
    values = score_files("classification", write("p", "1.5 1\n2 2\n"), metrics="pearson,spearman")
    assert values["scores"] == pytest.approx({"pearson": 1.0, "spearman": 1.0})


@pytest.mark.parametrize(
    ("task", "content", "metrics", "what"),
    [
        ("classification", "yes yes\n", "f1", "f1 needs the classes 0 and 1, there is 'yes' too"),
        ("classification", "1 1\n0 2\n", "accuracy,f1", "f1 needs the classes 0 and 1, there is 2 too"),
        ("classification", "1 1\n", "accuracy,pearson", "of accuracy and pearson one is of values"),
        ("classification", "1 1\n", "bleu", "bleu is no metric of task=classification"),
        ("mnli", "1 1\n", "f1", "f1 is no metric of task=mnli"),
        ("mnli_mm", "1 1\n", "accuracy,f1", "f1 is no metric of task=mnli_mm"),
        ("stsb", "1 1\n", "accuracy", "accuracy is no metric of task=stsb"),
        ("stsb", "1 1\n", "f1", "f1 is no metric of task=stsb"),
        ("rte", "1 1\n", "pearson", "pearson is no metric of task=rte"),
    ],
)
def test_metrics_of_another_kind_of_task_are_refused(write, task, content, metrics, what):
    refused(what, task, write("p", content), metrics=metrics)


@pytest.mark.parametrize(
    "content",
    [
        "pred\tgold\n1 1\n0 0\n",
        "y_pred y_true\na b\nb b\n",
        "x y\n1 2\n2 2\n",
        "class\tanswer\na\tb\nb\tb\n",
    ],
)
def test_a_line_that_looks_like_a_header_is_no_example(write, content):
    refused("looks like a header", "classification", write("p", content), metrics="accuracy")


@pytest.mark.parametrize("header", ["class", "sentiment", "intent", "answer", "y", "id,label"])
def test_a_header_that_both_files_have_is_no_example(write, header):
    """It would be one more right answer."""
    predictions, labels = (
        write(name, f"{header}\n{rows}") for name, rows in (("p", "a\nb\n"), ("l", "a\na\n"))
    )
    refused("looks like a header", "classification", predictions, labels, metrics="accuracy")


@pytest.mark.parametrize(
    "header",
    [
        "pred_label",
        "predicted_class",
        "label_pred",
        "model_output",
        "gold_answer",
        "true_class",
        "emotion_label",
        "trueLabel",
        "true_intent",
        "y_hat",
    ],
)
def test_a_headers_word_within_a_name_tells_a_header(write, header):
    files = (
        write("p", f"{header}\nLABEL_0\nLABEL_1\nLABEL_0\n".replace("LABEL_", "c")),
        write("l", "c0\nc1\nc1\n"),
    )
    refused("p, line 1: ", "classification", *files, metrics="accuracy")
    refused("looks like a header", "classification", *files, metrics="accuracy")


@pytest.mark.parametrize(
    "rows",
    ["class_1 class_2 class_2", "label_a label_b label_b", "true_positive false_positive false_positive"],
)
def test_a_first_class_that_is_like_the_others_is_an_example(write, rows):
    file = write("p", rows.replace(" ", "\n"))
    assert score_files("classification", file, file, metrics="accuracy")["n"] == 3


@pytest.mark.parametrize(
    "rows",
    [
        "business_class economy",
        "first_class second",
        "answer_call hang_up",
        "no_answer yes",
        "gold_medal silver_medal",
        "wrong_label missing_label",
        "outputDevice screen",
    ],
)
def test_a_first_class_with_a_headers_word_is_an_example(write, rows):
    first, other = rows.split()
    file = write("p", f"{first}\n{other}\n{other}\n")
    both = write("b", f"{first}\t{other}\n{other}\t{other}\n")
    assert score_files("classification", file, file, metrics="accuracy")["n"] == 3
    assert score_files("classification", both, metrics="accuracy")["scores"] == {"accuracy": 0.5}


def test_a_first_class_that_is_taken_for_a_header_may_have_one_before_it(write):
    rows = "no_label\nspam\nspam\n"
    file = write("p", rows)
    refused("looks like a header", "classification", file, file, metrics="accuracy")
    files = [write(name, f"{name}\n{rows}") for name in ("prediction", "label")]
    assert score_files("classification", *files, metrics="accuracy")["n"] == 3


def test_a_first_class_in_json_is_no_header(write):
    file = write("p.ndjson", '"no_answer"\n{"output": "yes"}\n')
    assert score_files("classification", file, file, metrics="accuracy")["n"] == 2


TEXTS = ["The Vaults is a pub near the river .", "There is a pub called Aromi , it is cheap ."]


@pytest.mark.parametrize("task", ["e2e", "webnlg", "classification"])
def test_json_under_another_ending_is_refused(write, task):
    """Its names and signs would be scored as words."""
    references = write("r", "a\nb\n")
    for name, content, what in (
        ("p.json", '{"output": "a"}\n{"output": "b"}\n', "p.json holds lines of JSON"),
        ("p.txt", '{"output":"a"}\n{"output":"b"}\n', "p.txt holds lines of JSON"),
        ("p.json", '"a"\n"b"\n', "p.json holds lines of JSON"),
        ("p.json", '["a",\n "b"]\n', "p.json is one list of JSON"),
        ("p.txt", '["a"]\n["b", "c"]\n', "p.txt holds lines of JSON"),
        ("p.csv", '["a"]\n\n{"output": "b"}\n', "p.csv holds lines of JSON"),
        ("p.json", '{"outputs":\n["a", "b"]}\n', "p.json is one object of JSON"),
    ):
        refused(
            what, task, write(name, content), references, metrics="accuracy" if task[0] == "c" else "bleu"
        )


def test_texts_in_brackets_are_no_json(write):
    lines = "[1] is a reference .\n[ The Mill ] is near .\n"
    assert e2e(write, lines, lines)["scores"]["bleu"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.ndjson", "".join(json.dumps({"output": text}) + "\n" for text in TEXTS)),
        ("p.json", "\n".join(TEXTS)),
        ("p.csv", "\n".join(TEXTS)),
        ("p.csv", f'{TEXTS[0]}\r\n"{TEXTS[1]}"\r\n'),
    ],
)
def test_texts_are_the_same_in_each_form_of_file(write, name, content):
    references = write("r", "\n\n".join(TEXTS))
    assert score_files("e2e", write(name, content), references, metrics="bleu")["scores"] == {
        "bleu": pytest.approx(1.0)
    }


def test_a_quoted_table_of_more_columns_is_refused(write):
    refused(
        "p.csv, line 1: 2 columns where 1 is expected",
        "webnlg",
        write("p.csv", '"a","b"\n'),
        write("r", "a\n"),
    )


def test_a_blank_row_of_a_quoted_table_is_an_empty_line(write):
    """Without it all rows below would be one place off."""
    rows = '"a b"\n\n"c d"\n'
    assert score_files("e2e", write("p.csv", rows), write("r", "a b\n\nx\n\nc d\n"), metrics="bleu")["n"] == 3
    refused("2 outputs, but", "webnlg", write("p.csv", '"a"\n"b"\n'), write("r.csv", '"a"\n\n"b"\n'))
    files = write("p.csv", '"a"\n\n"b"\n"c"\n"c"\n'), write("l.csv", '"a"\n"b"\n\n"c"\n"c"\n')
    refused("p.csv, line 2: 0 columns where 1 ", "classification", *files, metrics="accuracy")


def test_a_quoted_table_with_tabs_or_of_two_columns_is_read_as_it_is(write):
    tabs = write("p.csv", '"New York"\t"New York"\n"Rome"\t"New York"\n')
    assert score_files("classification", tabs, metrics="accuracy")["scores"] == {"accuracy": 0.5}
    with pytest.raises(UserError, match="a prediction and no label") as caught:
        score_files("classification", write("p.csv", '"prediction","label"\n"a","b"\n'), metrics="accuracy")
    assert "behind a tab" in caught.value.mend
    beside = write("p.csv", '"a"\t\n"b"\t\n')
    assert score_files("classification", beside, beside, metrics="accuracy")["n"] == 2


@pytest.mark.parametrize("first", ["", "prediction\n", "id,prediction\n"])
@pytest.mark.parametrize("ids", ["0 1 2", "17 4 9", "dev-7 dev-3 dev-4"])
def test_classes_behind_an_id_are_refused(write, first, ids):
    content = first + "".join(
        f"{one},{name}\n" for one, name in zip(ids.split(), ["a", "b", "a"], strict=True)
    )
    refused(
        "a first column of numbers or ids",
        "classification",
        write("p.csv", content),
        write("l", "a\n"),
        metrics="f1",
    )


def test_a_comma_in_a_class_is_no_column(write):
    file = write("p", "dogs,cats\ndogs,birds\ndogs,cats\n")
    assert score_files("classification", file, file, metrics="accuracy")["scores"] == {"accuracy": 1.0}


@pytest.mark.parametrize("rows", ["0\t3.2\n1\t2.1\n2\t4.0\n", "id\tpred\n1\t1\n2\t0\n3\t1\n"])
def test_a_column_that_counts_the_lines_is_no_prediction(write, rows):
    path = write("p", rows)
    refused("a first column that counts them", "stsb", path)
    refused("a first column that counts them", "classification", path, metrics="accuracy")


def test_predictions_that_happen_to_count_are_predictions(write):
    from scipy.stats import pearsonr

    for content in ("0 0\n1 1\n2 2\n", "0 1\n1 0\n", "prediction label\n0 1\n1 1\n2 0\n", "0 1\n2 1\n1 1\n"):
        assert score_files("classification", write("p", content), metrics="accuracy")["n"] > 1
    values = score_files("stsb", write("p", "1.0\t1.5\n2.0\t2.5\n3.0\t4\n"))["scores"]
    assert values["pearson"] == pytest.approx(pearsonr([1, 2, 3], [1.5, 2.5, 4])[0])


def test_an_empty_column_beside_the_classes_is_none(write):
    assert score_files("rte", write("p", "1\t\n0\t\n"), write("l", "\t1\n\t1\n"))["scores"] == {
        "accuracy": 0.5
    }
    assert score_files("rte", write("p", "1\t1\t\n0\t1\t\n"))["scores"] == {"accuracy": 0.5}
    names = write("p", "New York\t\n\tRome\n")
    assert score_files("classification", names, names, metrics="accuracy")["n"] == 2


def test_a_name_of_two_words_before_an_empty_label_is_no_pair(write):
    rows = "Rome\tRome\nNew York\t\nRome\tRome\n"
    refused("p, line 2: a prediction and no label", "classification", write("p", rows), metrics="accuracy")
    whole = write("p", rows.replace("York\t", "York\tNew York\t"))
    assert score_files("classification", whole, metrics="accuracy")["scores"] == {"accuracy": 1.0}


def test_classes_that_both_sides_spell_in_two_ways_are_two(write):
    labels = write("l", "a\nA\nb\nB\n")
    assert score_files("classification", write("p", "a\nA\nb\nb\n"), labels, metrics="accuracy")[
        "scores"
    ] == {"accuracy": 0.75}
    files = write("p", "a\nA\nb\n"), write("l", "a\na\nb\n")
    refused("one class is spelled 'A' and 'a'", "classification", *files, metrics="accuracy")


@pytest.mark.parametrize(
    ("predicted", "labels", "accuracy"),
    [
        ("e-mail e-mail web", "e-mail e_mail web", 2 / 3),
        ("a A b B", "a A b b", 3 / 4),
        ("a b b", "a A b", 2 / 3),
    ],
)
def test_classes_that_the_labels_spell_in_two_ways_are_two(write, predicted, labels, accuracy):
    files = [write(name, each.replace(" ", "\n")) for name, each in (("p", predicted), ("l", labels))]
    found = score_files("classification", *files, metrics="accuracy")["scores"]
    assert found["accuracy"] == pytest.approx(accuracy)


def test_a_class_called_nan_is_told_how_to_be_given(write):
    with pytest.raises(UserError) as caught:
        score_files(
            "classification", write("p", "none\nnan\n"), write("l", "none\nnan\n"), metrics="accuracy"
        )
    assert "call it otherwise" in caught.value.mend


@pytest.mark.parametrize(("gold", "tag"), [("B-per", "B-PER"), ("B-cell_line", "B-cell-line")])
def test_types_of_entities_that_are_spelled_otherwise_are_refused(write, gold, tag):
    refused("one class is spelled", "tagging", write("p", f"a {tag}\n"), write("r", f"a {gold}\n"))
    refused("one class is spelled", "tagging", write("p", f"a {gold} {tag}\n"))
    both = write("p", f"a {gold} {gold}\n\nb {tag} {tag}\nc O B-other\n")
    assert score_files("tagging", both)["entities"]["correct"] == 2


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"id": [1.0, 2.0]}, {"id": [2.0, 1.0]}),
        ({"id": [1, 2]}, {"id": [2.0, 1.0]}),
        ({"ID": [1, 2]}, {"Id": [2, 1]}),
        ({"idx": [1, 2]}, {"id": ["v2", "v1"], "idx": [2, 1]}),
        ({"uid": [1, 2]}, {"id": [2, 1]}),
    ],
)
def test_ids_in_any_usual_form_tell_another_order(write, ours, theirs):
    def lines(name, ids):
        rows = [{key: both[place] for key, both in ids.items()} | {"output": "a"} for place in (0, 1)]
        return write(name, "\n".join(map(json.dumps, rows)))

    refused(
        "line 1: its id is '1'",
        "classification",
        lines("p.jsonl", ours),
        lines("l.jsonl", theirs),
        metrics="f1",
    )
    again = {key: both[::-1] for key, both in theirs.items()}
    report = score_files(
        "classification", lines("p.jsonl", ours), lines("l.jsonl", again), metrics="accuracy"
    )
    assert report["n"] == 2


def test_a_gap_in_the_numbered_references_is_refused(write):
    outputs, one = write("p", "a b\n"), write("refs/reference0", "a b\n")
    write("refs/reference2", "c\n"), write("refs/reference1.bak", "c\n")
    for path in (one.parent, one.parent / "reference"):
        refused("reference2 is there, but no reference1", "webnlg", outputs, path)
    assert score_files("webnlg", outputs, one, metrics="ter")["references"] == 1
    for number in (1, 3, 4):
        write(f"refs/reference{number}", "c\n")
    for mode, used in (("generation_eval", 5), ("challenge_2017", 3)):
        assert score_files("webnlg", outputs, one.parent, metrics="ter", mode=mode)["references"] == used


def test_a_blank_category_is_refused_with_its_line(write):
    files = write("p", "a\nb\n"), write("r", "a\nb\n")
    refused(
        "c, line 2: a blank line where a category", "webnlg", *files, categories=str(write("c", "Food\n \n"))
    )


@pytest.mark.parametrize(
    ("predicted", "labels", "what"),
    [
        ("Positive\nnegative\n", "positive\nnegative\n", "one class is spelled 'Positive' and 'positive'"),
        ('"pos"\n"neg"\n', "pos\nneg\n", "one class is spelled"),
        (
            "LABEL_0\nLABEL_1\n",
            "neg\npos\n",
            "are not of the same classes: 'LABEL_0', 'LABEL_1'; 'neg', 'pos'",
        ),
        ("0,pos\n1,neg\n", "pos\nneg\n", "are not of the same classes"),
        ("1\n0\npos\n", "pos\nneg\npos\n", "are not of the same classes"),
        ("po\u200bs\nneg\n", "pos\nneg\n", r"one class is spelled 'pos' and 'po\u200bs'"),
        ("pos\u00a0it\tneg\n", "", ""),
        ("cafe\u0301\nneg\n", "caf\u00e9\nneg\n", r"one class is spelled 'cafe\u0301' and 'caf\xe9'"),
        ("\uff50os\nneg\n", "pos\nneg\n", "one class is spelled"),
    ],
)
def test_classes_that_are_spelled_otherwise_are_refused(write, predicted, labels, what):
    """Each would be a wrong answer, and 0.0 the score."""
    refused(what, "classification", write("p", predicted), write("l", labels), metrics="accuracy")


def test_a_code_is_another_class_than_the_number_it_spells(write):
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    for predicted, labels in (
        (["01", "01", "2", "2"], ["1", "1", "2", "01"]),
        (["01", "1"], ["1", "1"]),
        (["01", "2", "1"], ["01", "1", "1"]),
        (["1", "2", "2"], ["01", "1", "2"]),
        (["007", "7", "8"], ["007", "7", "7"]),
    ):
        files = [write(name, "\n".join(each)) for name, each in (("p", predicted), ("l", labels))]
        metrics = "accuracy,macro_f1,matthews_correlation"
        found = score_files("classification", *files, metrics=metrics)["scores"]
        assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
        assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
        assert found["matthews_correlation"] == pytest.approx(matthews_corrcoef(labels, predicted))


@pytest.mark.parametrize(("predicted", "label"), [("1", "01"), ("01", "1"), ("01", "001"), ("00", "000")])
def test_a_code_that_lost_its_zero_is_refused(write, predicted, label):
    """As a table's reader takes it for a number: each would be a wrong answer."""
    files = write("p", f"{predicted}\n2\n2\n"), write("l", f"{label}\n2\n2\n")
    one, other = sorted((predicted, label))
    refused(f"one class is spelled '{one}' and '{other}'", "classification", *files, metrics="accuracy")


def test_signs_and_points_of_whole_numbers_are_no_names(write):
    """As libsvm writes classes, and numpy rounded ones."""
    files = write("p", "+1\n-1\n-0.0\n+1\n"), write("l", "1\n-1\n0\n-1\n")
    found = score_files("classification", *files, metrics="accuracy")["scores"]
    assert found["accuracy"] == 0.75


@pytest.mark.parametrize("cell", ["-01", "1.5"])
def test_other_spellings_of_numbers_are_no_classes(write, cell):
    files = write("p", f"1\n{cell}\n"), write("l", "1\n0\n")
    refused(f"line 2: '{cell}' is not a class", "classification", *files, metrics="accuracy")


@pytest.mark.parametrize("blank", ["\u00a0", "\u2003", "  ", " \u200b"])
def test_classes_that_differ_in_a_blank_are_refused(write, blank):
    predictions = write("p.jsonl", json.dumps(f"very{blank}funny") + '\n"dull"\n')
    labels = write("l.jsonl", '"very funny"\n"dull"\n')
    refused("one class is spelled", "classification", predictions, labels, metrics="accuracy")


@pytest.mark.parametrize("content", ["true true\nfalse false\n", "a b\n7 b\n", "a b\nb b\n"])
def test_a_first_line_of_classes_is_an_example(write, content):
    found = score_files("classification", write("p", content), metrics="accuracy")
    assert found["n"] == 2


def test_matthews_is_of_any_number_of_classes(write):
    path = write("p", "0 0\n1 1\n2 2\n")
    assert score_files("mnli", path, metrics="matthews_correlation")["scores"]["matthews_correlation"] == 1.0


def test_lines_of_json_as_a_run_leaves_them(write):
    predictions = write("p.jsonl", '"entailment"\n"not_entailment"\n')
    labels = write("l", "entailment\nentailment\n")
    assert score_files("rte", predictions, labels)["scores"] == {"accuracy": 0.5}
    values = score_files("stsb", write("p.jsonl", "1.25\n3\n2\n"), write("l", "0\n5\n2\n"))
    assert values["scores"]["spearman"] == pytest.approx(1.0)
    outputs = '{"record": "name[x]", "output": "a b c d"}\n{"record": "y", "output": "e f\\u2028g h"}\n'
    report = score_files("e2e", write("p.jsonl", outputs), write("r", "a b c d\n\ne f g h\n"), metrics="bleu")
    assert report["scores"]["bleu"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('"a"\nb\n', "p.jsonl, line 2: not JSON"),
        ('{"text": "a"}\n', "p.jsonl, line 1: neither a text or number"),
        ('"a"\n["O"]\n', "p.jsonl, line 2: neither a text or number"),
        ("true\n", "p.jsonl, line 1: neither a text or number"),
        ('"a"\n{"output": "b", "output": "a"}\n', "p.jsonl, line 2: it names 'output' twice"),
        ('{"output": {"a": 1, "a": 2}}\n', "p.jsonl, line 1: it names 'a' twice"),
    ],
)
def test_other_json_is_refused_with_its_line(write, content, what):
    refused(what, "e2e", write("p.jsonl", content), write("r", "a\n"))


def test_constant_predictions_of_stsb_are_missing_and_the_report_is_json(write):
    report = score_files("stsb", write("p", "2.5\t1\n2.5\t2.75\n2.5\t5\n"))
    assert report["scores"] == {}
    assert set(report["missing"]) == {"pearson", "spearman"}
    json.dumps(report, allow_nan=False)


def test_predictions_of_stsb_are_not_clipped(write):
    report = score_files("stsb", write("p", "-3\t0\n1e1\t5\n2\t1\n"))
    assert report["scores"]["spearman"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("task", "content", "what"),
    [
        ("cola", "1\t1\n1\n", "p, line 2: a prediction and no label ('1')"),
        ("cola", "1\t1\t1\n", "p, line 1: 3 columns"),
        ("cola", "1 1\n\n0 0\n", "p, line 2: 0 columns"),
        ("cola", "1\t\n", "p, line 1: a prediction and no label"),
        ("stsb", "1.5\n2\n", "p, line 1: a prediction and no label ('1.5')"),
        ("cola", "\t1\n", "p, line 1: 1 columns where 2"),
        ("cola", "1 1\n0.73 0\n", "p, line 2: '0.73' is not a class"),
        ("stsb", "1 1\n2 two\n", "p, line 2: 'two' is not a number"),
        ("stsb", "nan 1\n", "p, line 1: 'nan' is not a finite number"),
        ("cola", "", "p is empty"),
        ("cola", "prediction label\n", "no example"),
        ("rte", "1 entailment\n", "predictions are numbers and labels names"),
        ("rte", "entailment entailment\n0 0\n", "both numbers and names"),
        ("rte", "index\tprediction\n0\tentailment\n", "p, line 1: 'index' is none of the task's classes"),
        ("sst2", "1 1\n7 1\n", "p, line 2: '7' is none of the task's classes"),
        ("mnli", "0 3\n", "p, line 1: '3' is none of the task's classes"),
        ("stsb", "1_0 1\n2 2\n", "p, line 1: '1_0' is not a number"),
        ("mrpc", "Equivalent equivalent\n", "p, line 1: 'Equivalent' is none"),
    ],
)
def test_malformed_columns_are_refused_with_their_line(write, task, content, what):
    refused(what, task, write("p", content))


def test_files_of_two_lengths_are_refused_with_both(write):
    predictions, labels = write("p", "1\n1\n0\n"), write("l", "1\n1\n")
    refused("has 3 segments", "cola", predictions, labels)
    refused("has 2", "cola", predictions, labels)


def test_files_that_cannot_be_read(write, tmp_path):
    refused("none cannot be read: No such file", "cola", tmp_path / "none")
    refused("Is a directory", "cola", tmp_path)
    refused("p, line 2: byte 0xff is not UTF-8", "cola", write("p", b"1 1\n\xff 1\n"))


CONLL = "IL-2\tB-protein\tB-protein\ngene\tI-protein\tO\n\nT cell\tO\tO\n"


def test_conll_with_any_separator_and_blank_lines(write):
    content = "\n\nIL-2\tB-protein\tB-protein\ngene  I-protein  O\r\n \n\ncaf\u00e9\u00a0x O I-cell_line\n\n"
    report = score_files("bionlp", write("p", content))
    assert report["n"] == 2
    assert report["tokens"] == 3
    assert report["entities"] == {"gold": 1, "predicted": 2, "correct": 0}
    assert report["scores"]["f1/cell_line"] == 0.0
    assert report["token_accuracy"] == pytest.approx(1 / 3)


def test_between_tabs_a_token_may_hold_blanks(write):
    report = score_files("bionlp", write("p", "T cell line\tB-cell_line\tB-cell_line\n . \tO\t O\r\n"))
    assert (report["tokens"], report["scores"]["f1"]) == (2, 1.0)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("a O O\nb O\n", "p, line 2: 2 columns where 3"),
        ("a O O O\n", "p, line 1: 4 columns"),
        ("\tO\tO\n", "p, line 1: 2 columns where 3"),
        ("T cell O O\n", "p, line 1: 4 columns"),
        ("a O O\n\nb O X-protein\n", "p, line 3: 'X-protein' is not a tag"),
        ("a o O\n", "p, line 1: 'o' is not a tag"),
        ("a B- O\n", "p, line 1: 'B-' is not a tag"),
        ("\n\n", "p is empty"),
        ("-DOCSTART- O O\n", "no tagged token"),
    ],
)
def test_malformed_conll_is_refused_with_its_line(write, content, what):
    refused(what, "bionlp", write("p", content))


def test_tags_in_two_files(write):
    gold = "###MEDLINE:1\n\nIL-2\tB-protein\ngene\tI-protein\n\n###MEDLINE:2\nT cell\tO\n"
    references = write("r.iob2", gold)
    wanted = score_files("bionlp", write("p", CONLL))
    lists = write("p.jsonl", '["B-protein", "O"]\n["O"]\n')
    plain = write("q", "IL-2 B-protein\ngene O\n\nT\u00a0cell O\n")
    for predictions in (lists, plain):
        assert score_files("bionlp", predictions, references) == wanted
    gold_lists = write("r.jsonl", '["B-protein", "I-protein"]\n["O"]\n')
    assert score_files("tagging", lists, gold_lists)["scores"] == wanted["scores"]


@pytest.mark.parametrize(
    ("predictions", "references", "what"),
    [
        ('["O"]\n', None, "p.jsonl holds predicted tags and no gold ones"),
        ('"O"\n', "a O\n", "p.jsonl, line 1: not a list of tags"),
        ('["O"]\n[0]\n', "a O\n", "p.jsonl, line 2: not a list of tags"),
        ('["X-a"]\n', "a O\n", "p.jsonl, line 1: 'X-a' is not a tag"),
        ('["O"]\n', "a O O\n", "r, line 1: 3 columns where 2"),
        ('["O"]\n', "a O\n\nb O\n", "1 predicted sentences for 2 labelled ones"),
        ('["O", "O"]\n', "a O\n", "sentence 1: 2 predicted tags for 1 labels"),
    ],
)
def test_tags_in_two_files_that_do_not_fit_are_refused(write, predictions, references, what):
    refused(what, "bionlp", write("p.jsonl", predictions), references and write("r", references))


@pytest.mark.parametrize(
    ("task", "predictions", "gold", "wanted"),
    [
        ("rte", '"entailment"\n"entailment"\n', "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n"
         "1\tc\t\"d\tnot_entailment\n", {"accuracy": 0.5}),
        ("cola", '"acceptable"\n"unacceptable"\n', "gj04\t1\t\tA b.\ncj99\t0\t*\tC d.\n",
         {"matthews_correlation": 1.0}),
        ("cola", "1\n0\n", "gj04\t1\t\tA b.\ncj99\t0\t*\tC d.\n", {"matthews_correlation": 1.0}),
        ("mnli_mm", '"neutral"\n', "sentence1\tsentence2\tgold_label\na\tb\tneutral\n", {"accuracy": 1.0}),
        ("stsb", "2.5\n1\n0\n", "sentence1\tsentence2\tscore\na\tb\t5.000\na\tb\t3\na\tb\t1\n",
         {"pearson": pytest.approx(0.993399), "spearman": pytest.approx(1.0)}),
    ],
)  # fmt: skip
def test_labels_in_glues_own_files(write, task, predictions, gold, wanted):
    assert score_files(task, write("p.jsonl", predictions), write("dev.tsv", gold))["scores"] == wanted


def test_glues_own_files_that_do_not_fit_are_refused(write):
    gold = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n"
    refused("predictions are numbers and labels names", "rte", write("p", "0\n"), write("dev.tsv", gold))
    refused("p has 2 segments", "rte", write("p", "entailment\n" * 2), write("dev.tsv", gold))
    refused("there is no column 'score'", "stsb", write("p", "1\n"), write("dev.tsv", gold))


def test_what_is_missing_beside_predictions_alone_is_said(write):
    for task, content in [("rte", '"entailment"\n'), ("stsb", "1.25\n"), ("bionlp", '["O"]\n')]:
        with pytest.raises(UserError) as caught:
            score_files(task, write("p.jsonl", content))
        assert "references=FILE" in caught.value.mend


def test_names_with_blanks_are_one_class(write):
    predictions, labels = write("p.jsonl", '"very funny"\n"dull"\n'), write("l.jsonl", '"very funny"\n' * 2)
    assert score_files("classification", predictions, labels, metrics="accuracy")["scores"]["accuracy"] == 0.5
    refused("a prediction and no label ('very funny')", "classification", predictions, metrics="accuracy")


def test_the_home_folder_may_be_written_short(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write("p", "1\n"), write("l", "1\n")
    assert score({"task": "sst2", "predictions": "~/p", "references": "~/l"})["scores"] == {"accuracy": 1.0}
    write("o", "a b\nc d\n"), write("refs.txt", "a b\nc x\n"), write("c", "Food\nArtist\n")
    words = {"predictions": "~/o", "references": "~/refs.txt", "categories": "~/c", "metrics": "ter"}
    assert score({"task": "webnlg", **words})["subsets"] == {"seen": 1, "unseen": 1}


@pytest.mark.parametrize("token", ["\u00a0", "\u2003", "\u3000", "T\u00a0cell"])
def test_white_space_that_parts_no_columns_is_a_token(write, token):
    gold = write("gold.iob2", f"{token}\tO\nIL-2\tB-protein\n")
    report = score_files("bionlp", write("tags.jsonl", '["O", "B-protein"]\n'), gold)
    assert (report["tokens"], report["scores"]["f1"]) == (2, 1.0)
    assert score_files("bionlp", write("p", f"{token} O\nIL-2 B-protein\n"), gold)["scores"]["f1"] == 1.0
    named = write("p", f"{token} {token}\nb {token}\n")
    assert score_files("classification", named, metrics="accuracy")["scores"] == {"accuracy": 0.5}


@pytest.mark.parametrize(
    "mark",
    ["-DOCSTART-", "-DOCSTART- O", "-DOCSTART-\tO", "-DOCSTART- -X- O O", "-DOCSTART- (7) O", "###MEDLINE:7"],
)
def test_marks_of_documents_are_no_sentences(write, mark):
    gold = write("gold.iob2", f"{mark}\n\nIL-2\tB-protein\n{mark}\nT\tO\n")
    assert score_files("bionlp", write("p.jsonl", '["B-protein"]\n["O"]\n'), gold)["n"] == 2
    assert score_files("bionlp", write("p", f"{mark}\nIL-2 B-protein O\n"))["n"] == 1


@pytest.mark.parametrize(
    ("predictions", "what"),
    [
        ("the\tB-protein\nIL-2\tI-protein\n\nof\tO\n", "p, line 1: the token is 'the', in"),
        ("IL-2 B-protein\ngene I-protein\n\nt O\n", "p, line 4: the token is 't', in"),
        ("IL-2 B-protein\n\ngene I-protein\nT O\n", "p, line 3: the token is 'gene', in"),
    ],
)
def test_tags_of_another_text_are_refused(write, predictions, what):
    gold = write("gold.iob2", "IL-2\tB-protein\ngene\tI-protein\n\nT\tO\n")
    refused(what, "bionlp", write("p", predictions), gold)


def test_a_number_that_is_no_class_and_json_without_end_are_refused(write):
    refused("is not a class", "cola", write("p", "9" * 400 + " 1\n"))
    refused("is not a class", "classification", write("p", f"{10**20} {10**20 + 1}\n"), metrics="accuracy")
    refused("p.jsonl, line 1: not JSON", "cola", write("p.jsonl", "[" * 100_000 + "\n"), write("l", "1\n"))
    with pytest.raises(UserError) as caught:
        score_files("cola", write("p", "x" * 100_000 + " 1\n"))
    assert len(caught.value.what) < 400


def e2e(write, outputs, references, **options):
    return score_files("e2e", write("p", outputs), write("r", references), metrics="bleu", **options)


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n\n\n"])
def test_blank_lines_at_the_end_of_the_references_add_no_instance(write, end):
    report = e2e(write, "a b c d\n\nx\n", f"a b c d\na b\n\nb\n\nx{end}")
    assert (report["n"], report["references"]) == (3, 4)


def test_references_without_blank_lines_are_one_each(write):
    assert e2e(write, "a b c d\ne f g h\n", "a b c d\ne f g h\n")["scores"]["bleu"] == pytest.approx(1.0)
    assert e2e(write, "a b c d\n", "x\na b c d\n")["references"] == 2


def test_carriage_returns_and_a_byte_order_mark_are_no_text(write):
    report = e2e(write, "\ufeffa b c d\r\ne f g h\r\n", "\ufeffa b c d\r\n\r\ne f g h\r\n")
    assert report["scores"]["bleu"] == pytest.approx(1.0)


def test_only_newlines_separate_segments(write):
    report = e2e(write, "a\u2028b c\x0cd\x85e\ng h i j\n", "a b c d e\n\ng h i j\n")
    assert report["n"] == 2
    assert report["scores"]["bleu"] == pytest.approx(1.0)


def test_e2e_files_that_do_not_fit_are_refused(write):
    refused("p has 1 segments", "e2e", write("p", "a\n"), write("r", "a\n\nb\n\nc\n"))
    refused("r has 3", "e2e", write("p", "a\n"), write("r", "a\n\nb\n\nc\n"))
    refused("has 3 segments", "e2e", write("p", "a\nb\n\n"), write("r", "a\n\nb\n"))
    refused(
        "r, line 3: a blank line where a reference", "e2e", write("p", "a\nb\n"), write("r", "a\n\n\nb\n")
    )
    refused("needs references=", "e2e", write("p", "a\n"))
    refused("no references", "e2e", write("p", "a\n"), write("r", "\n\n"))
    refused("mode=fast is unknown", "e2e", write("p", "a\n"), write("r", "a\n"), mode="fast")


CSV = 'mr,ref\r\n"name[A], food[x]",a b c d\r\nname[B],"e, f\r\ng h"\r\n"name[A], food[x]",i j k l\r\n'


def test_references_in_the_challenges_csv_are_grouped_by_record(write):
    report = score_files(
        "e2e", write("p", "i j k l\ne, f g h\n"), write("r.csv", "\ufeff" + CSV), metrics="bleu"
    )
    assert (report["n"], report["references"]) == (2, 3)
    assert report["scores"]["bleu"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("meaning,ref\nx,y\n", "r.csv: there is no column 'mr'"),
        ("mr,ref\nx\n", "r.csv, line 2: 1 columns where 2 are expected"),
        ('mr,ref\nx,"y\n', "r.csv, line 2: unexpected end of data"),
        ("mr,ref\n", "r.csv has a header line and no rows"),
    ],
)
def test_malformed_csv_is_refused(write, content, what):
    refused(what, "e2e", write("p", "a\n"), write("r.csv", content))


@pytest.mark.parametrize(
    "content",
    [
        "mr,ref\nname[A],The pub, by the river.\nname[B],Quiet.\n",
        "mr,ref\nname[A],The pub.\nname[B],Quiet., \n",
        "mr,ref\nname[A],The pub.\nname[B]\n",
        "mr,ref,id\nname[A],The pub.,1\nname[B],Quiet.\n",
        "mr\tref\nname[A]\tThe pub.\tby the river.\nname[B]\tQuiet.\n",
    ],
)
def test_a_row_of_another_length_is_refused_as_in_a_run(write, content):
    name = "r.tsv" if "\t" in content else "r.csv"
    refused("columns where", "e2e", write("p", "The pub\nQuiet.\n"), write(name, content))


def test_a_comma_in_quotes_is_text_and_a_named_column_no_mistake(write):
    outputs = write("p", "The pub, by the river.\nIt is quiet there.\n")
    content = 'mr,ref,id\nname[A],"The pub, by the river.",1\nname[B],It is quiet there.,2\n'
    for name, references in [
        ("r.csv", content),
        (
            "r.tsv",
            content.replace(",ref,", "\tref\t")
            .replace("],", "]\t")
            .replace(",1", "\t1")
            .replace(",2", "\t2"),
        ),
    ]:
        report = score_files("e2e", outputs, write(name, references), metrics="bleu")
        assert report["scores"]["bleu"] == pytest.approx(1.0)


RECORDS = 'mr,ref\n"name[A], food[Thai]","A serves Thai food."\nname[B],B is a pub.\n'


@pytest.mark.parametrize(
    "content",
    [
        "MR\toutput\nname[A], food[Thai]\tA serves Thai food.\nname[B]\tB is a pub.\n",
        '\ufeff"MR"\t"output"\r\n"name[A], food[Thai]"\t"A serves Thai food."\r\n"name[B]"\t"B is a pub."\r\n',
        '"mr","output"\n"name[A], food[Thai]","A serves Thai food."\nname[B],B is a pub.\n',
        "name[A], food[Thai]\tA serves Thai food.\nname[B]\tB is a pub.\n",
        '"name[A], food[Thai]","A serves Thai food."\n"name[B]","B is a pub."\n',
        '"name[A], food[Thai]",A serves Thai food.\r\nname[B],B is a pub.\r\n',
        "id\tMR\toutput\n1\tname[A], food[Thai]\tA serves Thai food.\n2\tname[B]\tB is a pub.\n",
    ],
)
@pytest.mark.parametrize("name", ["out.tsv", "out.csv", "out.txt"])
def test_outputs_in_the_challenges_table(write, content, name):
    for references in (write("r.csv", RECORDS), write("r.txt", "A serves Thai food.\n\nB is a pub.\n")):
        report = score_files("e2e", write(name, content), references, metrics="bleu")
        assert (report["n"], report["scores"]["bleu"]) == (2, pytest.approx(1.0))


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="the system does not show open files as paths")
@pytest.mark.parametrize(
    "content",
    [
        "A serves Thai food.\nB is a pub.\n",
        "MR\toutput\nname[A], food[Thai]\tA serves Thai food.\nname[B]\tB is a pub.\n",
    ],
)
def test_outputs_may_come_through_a_pipe(write, content):
    end, start = os.pipe()
    os.write(start, content.encode())
    os.close(start)
    report = score_files("e2e", Path(f"/dev/fd/{end}"), write("r.csv", RECORDS), metrics="bleu")
    os.close(end)
    assert report["scores"]["bleu"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "first", ["output, mr and more", "name[A], quiet and cheap", "1,000 pubs by the river"]
)
def test_a_text_with_its_comma_is_no_table(write, first):
    report = e2e(
        write,
        f"{first}\nname[B], quiet and cheap\n",
        f"{first}\n\nname[B], quiet and cheap\n",
    )
    assert report["scores"]["bleu"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "content",
    [
        "0\tA serves Thai food.\n1\tB is a pub.\n",
        "1\tA serves Thai food.\r\n2\tB is a pub.\r\n",
        "17\tA serves Thai food.\n4\t\n",
        '0,"A serves Thai food."\n1,B is a pub.\n',
        '1,"name[A], food[Thai]","A serves Thai food."\n2,name[B],B is a pub.\n',
        "1\tname[A], food[Thai]\tA serves Thai food.\n2\tname[B]\tB is a pub.\n",
    ],
)
def test_texts_behind_a_column_of_numbers_are_refused(write, content):
    """The numbers, and a record between, would be scored as words."""
    outputs, plain = write("p", content), write("r.txt", "A serves Thai food.\nB is a pub.\n")
    for references in (write("r.csv", RECORDS), plain):
        refused("p, line 1: the lines have a first column of numbers", "e2e", outputs, references)
    refused("p, line 1: the lines have a first column of numbers", "webnlg", outputs, plain)
    refused("p, line 1: the lines have a first column of numbers", "webnlg", plain, outputs)
    refused("p, line 1: the lines have a first column of numbers", "e2e", plain, outputs)


@pytest.mark.parametrize(
    "content",
    [
        "name[A], food[Thai]\tA serves Thai food.\nname[B]\tB is a pub.\n",
        '"name[A], food[Thai]","A serves Thai food."\n"name[B]","B is a pub."\n',
        "MR\tref\nname[A], food[Thai]\tA serves Thai food.\nname[B]\tB is a pub.\n",
    ],
)
def test_references_in_a_table_of_another_ending_are_refused(write, content):
    """The records would be scored as words."""
    refused("r.txt is a table of records", "e2e", write("p", "A.\nB is a pub.\n"), write("r.txt", content))


@pytest.mark.parametrize("task", ["e2e", "webnlg"])
def test_texts_in_columns_are_refused(write, task):
    plain = write("r", "A serves Thai food.\nB is a pub.\nC is one too.\n")
    ids = write("p", "Id1\tA serves Thai food.\nId2\tB is a pub.\nId3\t\n")
    refused("p, line 1: a tab parts the line in columns ('Id1", task, ids, plain)
    several = write("p", "A serves Thai food.\nB is a pub.\tB is not far.\nC is one too.\n")
    refused("p, line 2: a tab parts the line in columns ('B is", task, plain, several)


def test_a_tab_that_a_model_wrote_is_a_blank(write):
    lines = ["A serves Thai food .", "B is a\tpub by the river .", "C is one too ."]
    references = write("r", "\n".join(lines).replace("\t", " "))
    for outputs in (
        write("p", "\n".join(lines) + "\t\n"),
        write("p.jsonl", "".join(json.dumps({"output": line.replace(" ", "\t")}) + "\n" for line in lines)),
    ):
        assert score_files("webnlg", outputs, references, metrics="ter")["scores"] == {"ter": 0.0}
        assert score_files("e2e", outputs, references, metrics="bleu")["scores"]["bleu"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("p", "MR\toutput\nname[B]\tB is a pub.\nname[A], food[Thai]\tA.\n", "p, line 2: its record is 'name[B]'"),
        ("p", "MR\toutput\nname[A], food[Thai]\tA.\nname[C]\tC.\n", "p, line 3: its record is 'name[C]'"),
        ("p", "MR\toutput\nname[A], food[Thai]\tA.\n", "p has 1 segments"),
        ("p", "MR\toutput\nname[A], food[Thai]\tA.\tB.\nname[B]\tB.\n", "p, line 2: 3 columns where 2"),
        ("p", '"name[B]","B is a pub."\n"name[A], food[Thai]","A."\n', "p, line 1: its record is 'name[B]'"),
        ("p", '"name[A], food[Thai]",A.\nname[B],B, a pub.\n', "p, line 2: 3 columns where 2"),
        ("p", '"name[A], food[Thai]",A, cheap.\nname[B],B.\n', "p, line 1: 3 columns where a record and an"),
        ("p", "name[A], food[Thai]\t1\tA.\nname[B]\t2\tB.\n", "p, line 1: 3 columns where a record and an"),
        ("p.jsonl", '{"record": "name[B]", "output": "B."}\n{"record": "name[A], food[Thai]", "output": "A."}\n',
         "p.jsonl, line 1: its record is 'name[B]'"),
        ("p.jsonl", '{"record": "name[A], food[Thai]", "output": "A."}\n{"output": "B."}\n', "p.jsonl has 1 segments"),
    ],
)  # fmt: skip
def test_outputs_of_other_records_are_refused(write, name, content, what):
    refused(what, "e2e", write(name, content), write("r.csv", RECORDS))


def webnlg(write, outputs, references, **options):
    path = write("p", outputs)
    for number, content in enumerate(references):
        write(f"refs/reference{number}", content)
    return score_files("webnlg", path, path.parent / "refs", metrics="ter", **options)


def test_webnlg_folder_with_blank_references(write):
    # The second record's second reference is blank: the official script counts it as rate 1, no more.
    report = webnlg(write, "a b c d\na b c d e f\n", ["a b c d\nx\n", "x\n\n"])
    assert report["scores"]["ter"] == pytest.approx((0 + 1) / 2)


def test_a_last_blank_reference_in_files_without_last_newline(write):
    report = webnlg(write, "a b c d\na b c d e f", ["a b c d\nx", "x\n"])
    assert report["n"] == 2
    assert report["scores"]["ter"] == pytest.approx((0 + 1) / 2)


def test_webnlg_files_that_do_not_fit_are_refused(write, tmp_path):
    with pytest.raises(UserError, match=r"2 outputs, but .*reference1 has 1 lines"):
        webnlg(write, "a\nb\n", ["a\nb\n", "a\n"])
    with pytest.raises(UserError, match=r"2 outputs, but .*reference0 has 3 lines"):
        webnlg(write, "a\nb\n", ["a\nb\nc\n", "a\nb\n"])
    with pytest.raises(UserError, match="segment 2 has no reference"):
        webnlg(write, "a\nb\n", ["a\n\n", "a\n\n"])
    with pytest.raises(UserError, match="1 categories for 2 records"):
        webnlg(write, "a\nb\n", ["a\nb\n", "a\nb\n"], categories=str(write("c", "Food\n")))
    refused("no references there", "webnlg", write("p", "a\n"), tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    refused("no references there", "webnlg", write("p", "a\n"), tmp_path / "bare")


def test_webnlg_categories_from_a_file_and_one_plain_reference_file(write):
    path, references = write("p", "a b\nc d\n"), write("refs.txt", "a b\nc x\n")
    report = score_files(
        "webnlg", path, references, metrics="ter", categories=str(write("c", "Food\nArtist\n"))
    )
    assert report["scores"] == {"ter": 0.25, "ter/seen": 0.0, "ter/unseen": 0.5}
    assert report["subsets"] == {"seen": 1, "unseen": 1}


XML = """<?xml version='1.0' encoding='UTF-8'?>
<benchmark><entries>
<entry category="Food" eid="Id1" size="1">
  <lex comment="good" lid="Id1">Bacon is  good.</lex><lex comment="toFix" lid="Id2">bad</lex></entry>
<entry category="Artist" eid="Id2" size="1"><lex comment="good" lid="Id1">Dog &amp; café</lex></entry>
<entry category="Artist" eid="Id3" size="1"><lex comment="toFix" lid="Id1">none</lex></entry>
</entries></benchmark>"""


def test_webnlg_xml_takes_good_texts_only(write):
    report = score_files(
        "webnlg", write("p", "bacon is bad\ndog & café\n"), write("r.xml", XML), metrics="ter"
    )
    assert report["n"] == 2
    assert report["scores"] == pytest.approx({"ter": 1 / 4, "ter/seen": 1 / 2, "ter/unseen": 0.0})
    assert report["mode"] == "generation_eval"


def test_webnlg_outputs_of_other_records_are_refused(write):
    triples = "<modifiedtripleset><mtriple>Bacon | is | food</mtriple><mtriple>A | b | C</mtriple></modifiedtripleset>"
    references = write("r.xml", XML.replace('size="1">', f'size="1">{triples}'))
    own, other = "Bacon | is | food && A | b | C", "Bacon | is | meat"
    lines = [json.dumps({"record": own, "output": "bacon is good"})] * 2
    good = write("p.jsonl", "\n".join(lines))
    assert score_files("webnlg", good, references, metrics="ter")["n"] == 2
    lines[1] = json.dumps({"record": other, "output": "x"})
    refused(
        "p.jsonl, line 2: its record is",
        "webnlg",
        write("p.jsonl", "\n".join(lines)),
        references,
        metrics="ter",
    )


def test_marked_words_of_a_reference_are_scored(write):
    references = write("r.xml", XML.replace("Bacon is  good.", "Bacon <b>is  good</b>."))
    report = score_files("webnlg", write("p", "bacon is good.\ndog & café\n"), references, metrics="ter")
    assert report["scores"]["ter"] == 0.0


def test_outputs_in_another_order_than_the_references_ids_are_refused(write):
    """Id3 of the references has no good text; other ids than theirs say nothing of the order."""
    references = write("r.xml", XML)

    def outputs(name, *ids):
        texts = zip(ids, ["bacon is good.", "dog & café"], strict=True)
        lines = [json.dumps({"output": text} | ({name: one} if one else {})) for one, text in texts]
        return write("p.jsonl", "\n".join(lines))

    for ids in (["Id1", "Id2"], [None, "Id2"], ["Id1", None], [None, None], [0, 1], ["a", "Id3"]):
        for name in ("id", "eid"):
            report = score_files("webnlg", outputs(name, *ids), references, metrics="ter")
            assert report["scores"]["ter"] == 0.0
    for ids, line in ((["Id2", "Id1"], 1), (["Id1", "Id1"], 2), ([None, "Id1"], 2), (["Id7", "Id1"], 2)):
        refused(f"p.jsonl, line {line}: its id is 'Id", "webnlg", outputs("id", *ids), references)


@pytest.mark.parametrize(
    ("task", "metric"), [("classification", "accuracy"), ("e2e", "bleu"), ("webnlg", "ter")]
)
def test_ids_of_two_files_of_json_lines_are_compared(write, task, metric):
    first, second = {"idx": 7, "output": "a"}, {"idx": "8", "output": "b"}
    lines = [json.dumps(first), json.dumps(second)]
    labels = write("l.jsonl", "\n".join(lines))
    swapped = write("p.jsonl", "\n".join(lines[::-1]))
    refused("p.jsonl, line 1: its id is '8'", task, swapped, labels, metrics=metric)
    assert score_files(task, write("p.jsonl", "\n".join(lines)), labels, metrics=metric)["n"] == 2


@pytest.mark.parametrize("encoding", ["utf-7", "x-evil", "rot13"])
def test_webnlg_xml_in_no_encoding_is_refused(write, encoding):
    references = write("r.xml", XML.replace("UTF-8", encoding))
    refused(f"r.xml: its encoding '{encoding}'", "webnlg", write("p", "a\n"), references)


def test_webnlg_xml_in_utf_16_is_read(write):
    references = write("r.xml", XML.replace("UTF-8", "UTF-16").encode("utf-16"))
    assert score_files("webnlg", write("p", "a\nb\n"), references, metrics="ter")["n"] == 2


def test_webnlg_xml_that_does_not_fit_is_refused(write):
    refused("1 outputs, but", "webnlg", write("p", "a\n"), write("r.xml", XML))
    refused("has 2 records", "webnlg", write("p", "a\n"), write("r.xml", XML))
    refused("r.xml, line 2: the XML is malformed", "webnlg", write("p", "a\n"), write("r.xml", "<a>\n</b>"))
    refused("r.xml has no entry", "webnlg", write("p", "a\n"), write("r.xml", "<a/>"))
    refused("no entry has", "webnlg", write("p", "a\n"), write("r.xml", XML.replace('"good"', '"toFix"')))


def test_arguments_are_checked(write):
    path = str(write("p", "1 1\n"))
    for arguments, what in [
        ({"predictions": path}, "needs task="),
        ({"task": "cola"}, "needs predictions="),
        ({"task": "kola", "predictions": path}, "no task 'kola'"),
        ({"task": "COLA", "predictions": path}, "no task 'COLA'"),
        ({"task": "cola", "prediction": path}, "needs predictions="),
        ({"task": "cola", "predictions": path, "referenzes": path}, "no argument 'referenzes'"),
        ({"task": "cola", "predictions": path, "mode": "perl"}, "no argument 'mode'"),
        ({"task": "cola", "predictions": ""}, "predictions= is empty"),
        ({"task": "cola", "predictions": path, "metrics": "bleu"}, "bleu is no metric of task=cola"),
        ({"task": "classification", "predictions": path}, "needs metrics="),
    ]:
        with pytest.raises(UserError, match=what) as caught:
            score(arguments)
        assert caught.value.mend
    for arguments in ({"task": "COLA", "predictions": path}, {"task": "cola", "prediction": path}):
        with pytest.raises(UserError) as caught:
            score(arguments)
        assert caught.value.mend.startswith("did you mean ")
    assert score({"task": "cola", "predictions": path})["scores"] == {"matthews_correlation": 0.0}
