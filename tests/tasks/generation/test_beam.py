"""Beam search against transformers' own, and by brute force where its rules differ."""

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from autolora_bench.config.task import DecodingConfig
from autolora_bench.tasks.generation import beam
from autolora_bench.tasks.generation.beam import Stops, beam_search, cut, exclude_repeats, find_stops
from autolora_bench.tasks.generation.encode import prompt_batch
from autolora_bench.tasks.generation.model import StepModel

VOCABULARY = 40
END = 2


def only_end() -> Stops:
    ends = torch.zeros(VOCABULARY, dtype=torch.bool)
    ends[END] = True
    return Stops(ends, torch.zeros_like(ends), torch.zeros_like(ends))


@pytest.fixture(scope="module")
def sharp(decoder: Callable[..., Any]) -> Callable[[str], Any]:
    """Random decoders in double precision whose outputs differ from prompt to prompt, and end now and then."""

    def build(kind: str) -> Any:
        model = decoder(kind, VOCABULARY).double()
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() > 1:
                    weight.copy_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype) * 0.25)
        model.generation_config.eos_token_id = model.generation_config.pad_token_id = END
        return model

    return build


def prompts(seed: int, count: int = 5) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 9, (count,), generator=generator).tolist()
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def search(model: Any, found: Sequence[Sequence[int]], settings: DecodingConfig) -> list[list[int]]:
    return beam_search(model, *prompt_batch(found, END), settings, only_end())


@pytest.mark.parametrize(
    ("kind", "beams", "penalty"),
    [
        pytest.param(kind, beams, penalty, marks=[] if number % 2 else pytest.mark.slow)
        for number, (kind, beams, penalty) in enumerate(
            product(("llama", "gpt2"), (1, 2, 5), (0.9, 0.0, -1.0))
        )
    ],
)
@pytest.mark.sample(keep=("gpt2-5-0.9",))
def test_outputs_are_those_of_generate(
    kind: str, beams: int, penalty: float, sharp: Callable[[str], Any]
) -> None:
    model = sharp(kind)
    settings = DecodingConfig(beams=beams, length_penalty=penalty, no_repeat_ngram=0, max_new_tokens=10)
    options = {"length_penalty": penalty, "early_stopping": "never"} if beams > 1 else {}
    for seed in range(3):
        tokens, mask = prompt_batch(prompts(seed), END)
        config = GenerationConfig(
            num_beams=beams, do_sample=False, max_new_tokens=10, eos_token_id=END, pad_token_id=END, **options
        )
        expected = model.generate(tokens, attention_mask=mask, generation_config=config)[:, tokens.shape[1] :]
        found = search(model, prompts(seed), settings)
        for ours, theirs in zip(found, expected.tolist(), strict=True):
            assert ours == (theirs[: theirs.index(END) + 1] if END in theirs else theirs)
        assert found == [search(model, [prompt], settings)[0] for prompt in prompts(seed)]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_padding_at_the_front_changes_no_logits(kind: str, sharp: Callable[[str], Any]) -> None:
    model, found = sharp(kind), prompts(1)
    tokens, mask = prompt_batch(found, END)
    with torch.inference_mode():
        step = StepModel(model, mask)
        batched = [step.first(tokens), step.next(torch.arange(5), torch.full((5, 1), 7))]
        for row, prompt in enumerate(found):
            for extra, logits in zip(([], [7]), batched, strict=True):
                alone = model(torch.tensor([[*prompt, *extra]])).logits[0, -1]
                torch.testing.assert_close(logits[row], alone)


@pytest.mark.parametrize("cached", [1, 100, 10_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_best_tokens_are_those_of_log_softmax(
    cached: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beam, "CACHED", cached)
    logits = torch.randn(7, VOCABULARY, generator=torch.Generator().manual_seed(0)).to(dtype)
    logits[2, 5] = -torch.inf
    values, tokens = beam._best_tokens(logits, 6)
    expected = logits.float().log_softmax(dim=-1)
    torch.testing.assert_close(values, expected.topk(6).values)
    torch.testing.assert_close(expected.gather(1, tokens), values)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.sample(keep=("2",))
def test_no_repeated_n_grams_among_generated_tokens(size: int, sharp: Callable[[str], Any]) -> None:
    """By brute force: every output of four tokens, scored token by token without the excluded ones."""
    model = sharp("llama")
    few = range(3, 7)
    bias = torch.full((VOCABULARY,), -1e3, dtype=torch.double)
    bias[list(few)] = 0
    model.lm_head.bias = torch.nn.Parameter(bias)
    settings = DecodingConfig(beams=300, length_penalty=0.0, no_repeat_ngram=size, max_new_tokens=4)
    prompt = [3, 3, 3, 4, 4, 5]
    never = torch.zeros(VOCABULARY, dtype=torch.bool)
    found = beam_search(model, *prompt_batch([prompt], END), settings, Stops(never, never, never))[0]
    outputs = list(product(few, repeat=4))
    scores = dict.fromkeys(outputs, 0.0)
    for place in range(4):
        logits = (
            model(torch.tensor([[*prompt, *output[:place]] for output in outputs])).logits[:, -1].detach()
        )
        for output, row in zip(outputs, logits, strict=True):
            for start in range(place - size + 1):
                if output[start : start + size - 1] == output[place - size + 1 : place]:
                    row[output[start + size - 1]] = -torch.inf
            scores[output] += float(row.log_softmax(-1)[output[place]])
    best = max(scores, key=lambda output: scores[output])
    assert tuple(found) == best
    grams = [best[start : start + size] for start in range(5 - size)]
    assert len(set(grams)) == len(grams)


def test_excluded_tokens_row_by_row() -> None:
    logits = torch.zeros(2, 6)
    exclude_repeats(logits, torch.tensor([[1, 2, 3, 1, 2], [1, 2, 4, 5, 1]]), 3)
    assert logits[0].tolist() == [0, 0, 0, -torch.inf, 0, 0]
    assert logits[1].tolist() == [0] * 6


def test_an_output_ends_at_its_end_and_at_a_blank_line(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    stops = find_stops(byte_tokenizer, 500, torch.device("cpu"))
    line = byte_tokenizer("\n")["input_ids"][0]
    letter = byte_tokenizer("a")["input_ids"][0]
    tokens = torch.tensor([byte_tokenizer.eos_token_id, line, line, letter, 499])
    assert stops.reached(None, tokens).tolist() == [True, False, False, False, False]
    previous = torch.tensor([letter, letter, line, line, line])
    assert stops.reached(previous, tokens).tolist() == [True, False, True, False, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" A pub. ", "A pub."),
        (" A pub.<|endoftext|> and more", "A pub."),
        (" One.\nTwo.\n\nThree.", "One. Two."),
        ("\n\nA pub.", ""),
        (" It is n't dear .", "It is n't dear ."),
    ],
)
def test_texts_are_cut(text: str, expected: str, byte_tokenizer: PreTrainedTokenizerBase) -> None:
    assert cut(byte_tokenizer(text)["input_ids"], byte_tokenizer) == expected


def test_texts_of_ones_own_may_have_paragraphs(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    stops = find_stops(byte_tokenizer, 500, torch.device("cpu"), blank_line=False)
    line = byte_tokenizer("\n")["input_ids"]
    assert not stops.reached(torch.tensor(line), torch.tensor(line)).any()
    assert stops.reached(None, torch.tensor([byte_tokenizer.eos_token_id])).all()
    tokens = byte_tokenizer(" One.\n\nTwo,\n three.<|endoftext|> Four.")["input_ids"]
    assert cut(tokens, byte_tokenizer, blank_line=False) == "One.\n\nTwo,\n three."


def test_search_ends_at_a_blank_line(sharp: Callable[[str], Any]) -> None:
    """Two line breaks in a row end a hypothesis as an end token does: as if the second were one."""
    model = sharp("gpt2")
    ends = torch.zeros(VOCABULARY, dtype=torch.bool)
    lines = torch.zeros(VOCABULARY, dtype=torch.bool)
    lines[torch.arange(0, VOCABULARY, 2)] = True
    settings = DecodingConfig(beams=3, length_penalty=0.5, no_repeat_ngram=0, max_new_tokens=12)
    found = beam_search(model, *prompt_batch(prompts(2), END), settings, Stops(ends, lines, lines))
    for output in found:
        pairs = [a % 2 == 0 and b % 2 == 0 for a, b in pairwise(output)]
        assert not any(pairs[:-1])
        assert len(output) == 12 or pairs[-1]
