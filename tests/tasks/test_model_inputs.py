"""A model reads all of a text, nothing of the padding, and types of tokens only where it knows several."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertTokenizer,
    DebertaV2Config,
    DistilBertConfig,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedConfig,
    RobertaConfig,
    RobertaModel,
    XLNetConfig,
)

from autolora_bench.config.model import ModelConfig
from autolora_bench.config.task import ClassificationTask, RecoveryTask, TaggingTask
from autolora_bench.data.schema import TaskData
from autolora_bench.models.load import Backbone, HeadKind, HeadSpec, load_backbone, load_tokenizer
from autolora_bench.tasks.base import EvaluationContext
from autolora_bench.tasks.classification import Classification
from autolora_bench.tasks.recovery_inputs import recovery_inputs
from autolora_bench.tasks.tagging import Tagging

ONE = ClassificationTask(name="mine", labels=["a", "b"], texts=["text"], max_length=32)
PAIR = ClassificationTask(name="mine", labels=["a", "b"], texts=["text", "other"], max_length=32)
TAGS = TaggingTask(name="tags", entities=["X"], max_length=16)
TEXTS = ["a good film", "good", "a new film and a good film"]
TYPED = ["input_ids", "token_type_ids", "attention_mask"]
CPU = torch.device("cpu")


def telling(folder: Path, names: list[str], target: Path) -> Path:
    """A copy of a model whose tokenizer says that these are the model's inputs."""
    shutil.copytree(folder, target)
    settings = json.loads((target / "tokenizer_config.json").read_text())
    (target / "tokenizer_config.json").write_text(json.dumps({**settings, "model_input_names": names}))
    return target


def loaded(folder: Path, head: HeadSpec) -> Backbone:
    """With weights so large that what a model reads shows in what it says."""
    torch.manual_seed(0)
    found = load_backbone(ModelConfig(name="any", checkpoint=str(folder)), head)
    with torch.no_grad():
        for weight in found.model.parameters():
            if weight.ndim == 2:
                weight.mul_(5)
    found.model.eval()
    return found


def rows_of(**columns: list[Any]) -> TaskData:
    return TaskData(dict.fromkeys(("train", "test"), Dataset.from_dict(columns)), str(columns), "here")


def logits_of(folder: Path, task: ClassificationTask, sizes: tuple[int, ...], **texts: list[str]) -> Any:
    """The logits of all texts, for each size of a batch."""
    kind = Classification(task)
    backbone = loaded(folder, kind.head())
    labels = [place % 2 for place in range(len(texts["text"]))]
    splits = kind.prepare(rows_of(**texts, label=labels), backbone.tokenizer)
    contexts = [EvaluationContext(backbone.tokenizer, CPU, size) for size in sizes]
    return [kind.outputs(backbone.model, splits.held_out["test"], context) for context in contexts]


def test_padding_is_not_read_whatever_the_tokenizer_names(tiny_encoder: Path, tmp_path: Path) -> None:
    folder = telling(tiny_encoder, ["input_ids"], tmp_path / "silent")
    single, together = logits_of(folder, ONE, (1, 3), text=TEXTS)
    (usual,) = logits_of(tiny_encoder, ONE, (1,), text=TEXTS)
    torch.testing.assert_close(together, single)
    torch.testing.assert_close(single, usual)
    assert (single[0] - single[1]).abs().max() > 0.01


def test_a_tagger_pads_without_the_tokenizer_naming_a_mask(tiny_encoder: Path, tmp_path: Path) -> None:
    task = Tagging(TAGS)
    backbone = loaded(telling(tiny_encoder, ["input_ids"], tmp_path / "silent"), task.head())
    sentences = [text.split() for text in TEXTS]
    data = rows_of(tokens=sentences, tags=[[0] * len(words) for words in sentences])
    splits = task.prepare(data, backbone.tokenizer)
    single, together = (
        task.evaluate(
            backbone.model, splits.held_out["test"], EvaluationContext(backbone.tokenizer, CPU, size)
        )
        for size in (1, 3)
    )
    assert single.predictions == together.predictions
    assert single.probabilities == [
        pytest.approx(values, abs=2e-4) for values in together.probabilities or []
    ]


@pytest.mark.parametrize(
    ("config", "known"),
    [
        (BertConfig(), True),
        (RobertaConfig(), True),
        (XLNetConfig(), True),
        (RobertaConfig(type_vocab_size=1), False),
        (DebertaV2Config(), False),
        (DistilBertConfig(), False),
        (GPT2Config(), False),
    ],
    ids=["bert", "roberta", "xlnet", "roberta of one type", "deberta", "distilbert", "gpt2"],
)
def test_types_go_to_models_that_know_several(config: PreTrainedConfig, known: bool, tmp_path: Path) -> None:
    """By the name of its class BERT's tokenizer gives them: what is exported has to say that it does not."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film"]
    (tmp_path / "words.txt").write_text("\n".join(words))
    BertTokenizer(str(tmp_path / "words.txt")).save_pretrained(tmp_path / "model")
    config.save_pretrained(tmp_path / "model")
    tokenizer = load_tokenizer(
        ModelConfig(name="any", checkpoint=str(tmp_path / "model")), HeadSpec(HeadKind.sequence)
    )
    expected = TYPED if known else ["input_ids", "attention_mask"]
    assert tokenizer.model_input_names == expected
    assert list(tokenizer("film", "film")) == expected
    tokenizer.save_pretrained(tmp_path / "exported")
    assert AutoTokenizer.from_pretrained(tmp_path / "exported").model_input_names == expected
    assert BertTokenizer.model_input_names == TYPED


def test_gpt2_reads_no_types(decoder_folder: Callable[[str], Path], tmp_path: Path) -> None:
    """It would add the embeddings of the tokens 0 and 1 to those of the text."""
    folder = telling(decoder_folder("gpt2"), TYPED, tmp_path / "typed")
    (usual,) = logits_of(decoder_folder("gpt2"), ONE, (3,), text=TEXTS)
    (found,) = logits_of(folder, ONE, (3,), text=TEXTS)
    torch.testing.assert_close(found, usual)
    backbone = loaded(folder, Classification(ONE).head())
    assert isinstance(backbone.model, GPT2ForSequenceClassification)
    with torch.no_grad():
        ids = torch.tensor([backbone.tokenizer(TEXTS[0])["input_ids"]])
        added = backbone.model(ids, token_type_ids=torch.zeros_like(ids)).logits[0]
    assert (added - usual[0]).abs().max() > 0.01


def test_a_roberta_of_one_type_reads_pairs(tiny_encoder: Path, tmp_path: Path) -> None:
    """BERT's tokenizer gives the second text a type that has no embedding there."""
    roberta = Path(shutil.copytree(tiny_encoder, tmp_path / "roberta"))
    tokenizer = AutoTokenizer.from_pretrained(roberta)
    assert max(tokenizer("good", "good")["token_type_ids"]) == 1
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = RobertaConfig(
        vocab_size=len(tokenizer), type_vocab_size=1, max_position_embeddings=64, pad_token_id=0, **sizes
    )
    RobertaModel(config).save_pretrained(roberta)
    plain = telling(roberta, ["input_ids", "attention_mask"], tmp_path / "plain")
    (usual,) = logits_of(plain, PAIR, (3,), text=TEXTS, other=TEXTS)
    (found,) = logits_of(roberta, PAIR, (3,), text=TEXTS, other=TEXTS)
    torch.testing.assert_close(found, usual)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_an_empty_text_is_read_as_one_token(kind: str, decoder_folder: Callable[[str], Path]) -> None:
    """This tokenizer puts nothing around a text."""
    task = Classification(ONE)
    backbone = loaded(decoder_folder(kind), task.head())
    data = rows_of(text=["", *TEXTS, ""], label=[0, 1, 0, 1, 0])
    splits = task.prepare(data, backbone.tokenizer)
    note = "test: 2 of 5 examples have no token: <|endoftext|> is read in their place"
    assert note in splits.notes
    contexts = [EvaluationContext(backbone.tokenizer, CPU, size) for size in (1, 2, 5)]
    found = [task.outputs(backbone.model, splits.held_out["test"], context) for context in contexts]
    for others in found[1:]:
        torch.testing.assert_close(others, found[0])
    with torch.no_grad():
        alone = backbone.model(torch.tensor([[backbone.tokenizer.bos_token_id]])).logits[0]
    torch.testing.assert_close(found[0][0], alone)
    batch = task.collator(backbone.tokenizer)([splits.train[0], splits.train[4]])
    assert batch["attention_mask"].tolist() == [[1], [1]]


def test_a_text_with_tokens_has_no_note(decoder_folder: Callable[[str], Path]) -> None:
    tokenizer = loaded(decoder_folder("gpt2"), Classification(ONE).head()).tokenizer
    splits = Classification(ONE).prepare(rows_of(text=TEXTS, label=[0, 1, 0]), tokenizer)
    assert splits.notes == []
    assert splits.train["input_ids"][:] == [tokenizer(text)["input_ids"] for text in TEXTS]


@pytest.mark.parametrize("size", [1, 3])
def test_a_sentence_without_tokens_is_tagged_o(size: int, decoder_folder: Callable[[str], Path]) -> None:
    task = Tagging(TAGS)
    backbone = loaded(decoder_folder("gpt2"), task.head())
    encoded = Dataset.from_dict(
        {
            "tags": [[0], [0, 1]],
            "input_ids": [[[]], [[5, 6]]],
            "words": [[[]], [[0, 1]]],
        }
    )
    context = EvaluationContext(backbone.tokenizer, CPU, size)
    found = task.evaluate(backbone.model, encoded, context)
    assert found.predictions[0] == ["O"]
    alone = task.evaluate(backbone.model, encoded.select([1]), context)
    assert found.predictions[1:] == alone.predictions
    assert (found.probabilities or [])[1:] == alone.probabilities


def test_an_empty_text_is_no_input_to_recover(decoder_folder: Callable[[str], Path]) -> None:
    """It has no hidden states: its error over its change would be nothing over nothing."""
    tokenizer = loaded(decoder_folder("gpt2"), HeadSpec(HeadKind.hidden_states)).tokenizer
    task = RecoveryTask(name="recovered", texts=["text"], max_length=16)
    data = rows_of(text=["", *TEXTS])
    inputs, _ = recovery_inputs(task, {"train": 2, "test": 1}, data, tokenizer, numbers=False)
    assert all(inputs["input_ids"][:])
