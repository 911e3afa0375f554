import re

import pytest

from autolora_bench.errors import UserError
from autolora_bench.metrics.generation.webnlg import (
    WebnlgProtocol,
    fold_to_ascii,
    pad_references,
    score_webnlg,
    split_at_non_words,
)
from autolora_bench.scoring.score import score
from autolora_bench.scoring.texts import read_xml

CASE = "webnlg_2_generationeval_example"
GENERATION_EVAL, CHALLENGE_2017 = WebnlgProtocol


def test_official_case(metric_cases, expected, java):
    truth, folder = expected(CASE), metric_cases / CASE
    report = score({"task": "webnlg", "predictions": f"{folder}/hypothesis", "references": str(folder)})
    values, tolerance = truth["all"], truth["tolerance_abs"]
    assert report["n"] == values["n"]
    assert 100 * report["scores"]["bleu"] == pytest.approx(
        values["BLEU_unrounded_sacrebleu"], abs=tolerance["BLEU_unrounded_sacrebleu"]
    )
    assert report["scores"]["meteor"] == pytest.approx(values["METEOR"], abs=tolerance["METEOR"])
    assert report["scores"]["ter"] == pytest.approx(values["TER_pyter_mean"], abs=tolerance["TER"])
    assert report["missing"] == {}
    assert report["subsets"] == {}


@pytest.mark.parametrize("count", [100, pytest.param(None, marks=pytest.mark.slow)])
def test_references_may_be_given_by_their_prefix(count, metric_cases, expected, tmp_path):
    """Of the first lines, or of all, which have an official score."""
    for file in (metric_cases / CASE).glob("[hr]*"):
        lines = file.read_text(encoding="utf-8").split("\n")[:count]
        (tmp_path / file.name).write_text("\n".join(lines), encoding="utf-8")
    of_folder, of_prefix = (
        score(
            {
                "task": "webnlg",
                "predictions": f"{tmp_path}/hypothesis",
                "references": references,
                "metrics": "ter",
            }
        )
        for references in (str(tmp_path), f"{tmp_path}/reference")
    )
    assert of_prefix["scores"] == of_folder["scores"]
    if count is None:
        official = expected(CASE)["all"]["TER_pyter_mean"]
        assert of_prefix["scores"]["ter"] == pytest.approx(official, abs=1e-9)


@pytest.mark.parametrize("count", [100, pytest.param(None, marks=pytest.mark.slow)])
def test_a_last_newline_changes_nothing(count, metric_cases, expected, tmp_path):
    """Of the first lines, or of all, which have an official score."""
    reports = []
    for end in ("", "\n"):
        for file in (metric_cases / CASE).glob("[hr]*"):
            lines = file.read_text(encoding="utf-8").split("\n")[:count]
            (tmp_path / file.name).write_text("\n".join(lines) + end, encoding="utf-8")
        arguments = {"task": "webnlg", "predictions": f"{tmp_path}/hypothesis", "references": str(tmp_path)}
        reports.append(score({**arguments, "metrics": "ter"}))
    without, report = reports
    values = expected(CASE)["all"]
    assert report["n"] == without["n"] == (count or values["n"])
    assert report["scores"] == without["scores"]
    if count is None:
        assert report["scores"]["ter"] == pytest.approx(values["TER_pyter_mean"], abs=1e-9)


@pytest.mark.slow
def test_seen_and_unseen_of_the_test_set(shared_data, metric_cases):
    xml = shared_data / "webnlg" / "test" / "testdata_with_lex.xml"
    arguments = {
        "task": "webnlg",
        "predictions": str(metric_cases / CASE / "hypothesis"),
        "references": str(xml),
    }
    report = score({**arguments, "metrics": "bleu,ter"})
    assert report["n"] == 1862
    assert report["subsets"] == {"seen": 971, "unseen": 891}
    seen, unseen = report["scores"]["ter/seen"], report["scores"]["ter/unseen"]
    assert report["scores"]["ter"] == pytest.approx((971 * seen + 891 * unseen) / 1862, abs=1e-12)
    assert report["scores"]["bleu/seen"] > report["scores"]["bleu"] > report["scores"]["bleu/unseen"]


def test_prepared_references_of_the_xml_are_the_official_files(shared_data, metric_cases):
    # The official example holds four references and repeats the first; the XML has up to eight.
    records = read_xml(shared_data / "webnlg" / "test" / "testdata_with_lex.xml").references
    for column in range(4):
        lines = (metric_cases / CASE / f"reference{column}").read_text(encoding="utf-8").split("\n")
        ours = [split_at_non_words(pad_references(record, GENERATION_EVAL)[column]) for record in records]
        assert ours == lines


TEXTS = [
    "Aenir's 1st (book), £3.50!",
    "İstanbul — café_naïve",
    "",
    "  a\tb\u00a0c\u2028d ",
    "漢字 😀👍",
    "1,5%",
]


@pytest.mark.parametrize("text", TEXTS)
def test_splitting_equals_the_published_definition_and_is_idempotent(text):
    official = " ".join(" ".join(re.split(r"(\W)", text.lower())).split())
    assert split_at_non_words(text) == official
    assert split_at_non_words(official) == official


def test_folding_leaves_ascii_letters():
    assert fold_to_ascii("Adolfo Suárez Madrid\u2013Barajas, Þórður, Æ, ß, \u2019s") == (
        "adolfo suarez madrid-barajas, thordur, ae, ss, 's"
    )


def test_missing_references_repeat_the_first_or_are_blank_in_2017():
    assert pad_references(["a", "b"], GENERATION_EVAL) == ["a", "b", "a", "a", "a", "a"]
    assert pad_references(list("abcdefgh"), GENERATION_EVAL) == list("abcdef")
    assert pad_references(["a"], CHALLENGE_2017) == ["a", "", ""]
    assert pad_references(list("abcd"), CHALLENGE_2017) == ["a", "b", "c"]


HYPOTHESES = ["The cat's café is open.", "a dog barked twice", "x y"]
REFERENCES = [["the cat ' s café is open ."], ["A dog barked twice!"], ["x z"]]


def test_subsets_are_scored_by_themselves(java):
    categories = ["Food", "Artist", "Politician"]
    together = score_webnlg(HYPOTHESES, REFERENCES, categories).values
    apart = score_webnlg(HYPOTHESES[1:], REFERENCES[1:]).values
    assert together["bleu/seen"] == pytest.approx(1.0)
    assert together["ter/seen"] == 0.0
    assert {name: together[f"{name}/unseen"] for name in apart} == pytest.approx(apart, abs=1e-12)


def test_without_unseen_categories_there_is_no_unseen_score():
    values = score_webnlg(HYPOTHESES, REFERENCES, ["Food"] * 3, metrics=["ter"]).values
    assert set(values) == {"ter", "ter/seen"}
    assert values["ter"] == values["ter/seen"] == pytest.approx((0 + 1 / 5 + 1 / 2) / 3)


def test_texts_as_they_are():
    hypotheses, references = ["The cat's"], [["the cat ' s"]]
    assert score_webnlg(hypotheses, references, metrics=["ter"]).values["ter"] == 0.0
    assert score_webnlg(hypotheses, references, metrics=["ter"], prepare=False).values["ter"] == 1.0


def test_without_java_bleu_and_ter_remain(fake_java, monkeypatch):
    from autolora_bench.metrics.generation import meteor as meteor_module

    monkeypatch.setattr(meteor_module, "_shared", None)
    fake_java("exit 1")
    scores = score_webnlg(HYPOTHESES, REFERENCES, ["Food", "Artist", "Artist"])
    assert set(scores.missing) == {"meteor", "meteor/seen", "meteor/unseen"}
    assert set(scores.values) == {
        f"{name}{part}" for name in ("bleu", "ter") for part in ("", "/seen", "/unseen")
    }
    meteor_module.close_shared()


def test_the_challenge_of_2017_ignores_accents_and_uses_corpus_ter(java):
    references = [pad_references(["the cafe is open", "cafe open today"], CHALLENGE_2017)] * 2
    values = score_webnlg(["The café is open", "the cafe"], references, protocol=CHALLENGE_2017).values
    # sacrebleu's tercom: 0 and 2 edits over two mean lengths of 3.5 words
    assert values["ter"] == pytest.approx(2 / 7, abs=1e-9)
    assert 0 < values["bleu"] < 1
    assert 0 < values["meteor"] < 1


@pytest.mark.parametrize("category", ["airport", "Aiport", "comics character", "written_work"])
def test_a_misspelled_category_is_not_an_unseen_one(category):
    with pytest.raises(UserError, match=f"category 2 is '{category}', which is not seen in training, and "):
        score_webnlg(HYPOTHESES, REFERENCES, ["Food", category, "Artist"], metrics=["bleu"])


def test_blanks_around_a_category_are_not_part_of_it():
    found = score_webnlg(HYPOTHESES, REFERENCES, ["Food ", "Artist", "\tPolitician"], metrics=["bleu"])
    plain = score_webnlg(HYPOTHESES, REFERENCES, ["Food", "Artist", "Politician"], metrics=["bleu"])
    assert found.values == plain.values


def test_categories_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="1 categories for 3 records"):
        score_webnlg(HYPOTHESES, REFERENCES, ["Food"])
    with pytest.raises(UserError, match="cider"):
        score_webnlg(HYPOTHESES, REFERENCES, metrics=["cider"])
