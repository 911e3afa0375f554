"""The lines of an export's card that give the model an input as the run gave it, and what is to be told of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peft import PeftType
from transformers import PreTrainedTokenizerBase

from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.label_texts import answers, question
from autolora_bench.config.task import (
    RENAMED_KEYS,
    TABLES,
    ClassificationTask,
    GenerationTask,
    LongSentences,
    Protocol,
    RegressionTask,
    Scorer,
    Serialization,
    TaggingTask,
)
from autolora_bench.models.load import HeadKind, cuts_words_as_text, special_frame
from autolora_bench.models.virtual import virtual_tokens

NUMBERED = (PeftType.MULTITASK_PROMPT_TUNING, PeftType.POLY)
"""Types of PEFT that ask for every input's task."""
FIRST_TASK = ", task_ids=torch.zeros(1, dtype=torch.long)"
PIPELINE_TEXT = """\
pipeline("text-classification", model=model, tokenizer=tokenizer, truncation=True, max_length={length})
"""
CLASS_TEXT = """
inputs = tokenizer({texts}, truncation=True, max_length={length}, return_tensors="pt")
logits = model(**inputs{task}).logits
"""
TAGS_PIPELINE_TEXT = 'pipeline("token-classification", model=model, tokenizer=tokenizer)\n'
TAGS_TEXT = """
words = ["the", "IL-2", "gene"]
inputs = tokenizer({words}, is_split_into_words=True, return_tensors="pt")
logits = model(**inputs{task}).logits{real}
tags = {{}}
for place, word in enumerate(inputs.word_ids()):
    if word is not None and word not in tags:
        tags[word] = model.config.id2label[int(logits[0, place].argmax())]
"""
"""The tag of every word that has a token, read off its first."""
WRITING_TEXT = """
record = {record}
tokens = [{before}*tokenizer(record, add_special_tokens=False)["input_ids"]{after}]
prompt = torch.tensor([tokens], device=model.device)
start = {start}
settings = GenerationConfig(
    num_beams={beams},
    do_sample=False,
    length_penalty={penalty},
    early_stopping={stopping},
    max_new_tokens={longest},
    renormalize_logits=True,
    eos_token_id={ends},
    pad_token_id={padding},
{more})
{owner}.generation_config = settings  # the base model's own would be mixed in
{setup}written = model.generate(
    input_ids=prompt,
    attention_mask=torch.ones_like(prompt),
    generation_config=settings,
{given})
text = tokenizer.decode(written[0, start:], skip_special_tokens=True, clean_up_tokenization_spaces=False)
print({shown})
"""
UNREPEATED = (
    "unrepeated = NoRepeatNGramLogitsProcessor({size})\n",
    "    logits_processor=[lambda ids, scores: unrepeated(ids[:, start:], scores)],\n",
)
BLANK_LINE = (
    """
def parted(ids, scores, **_):
    texts = tokenizer.batch_decode(ids[:, start:], clean_up_tokenization_spaces=False)
    return torch.tensor(["\\n\\n" in text for text in texts], device=ids.device)

""",
    "    stopping_criteria=[parted],\n",
)
"""Rules of an output that transformers has not, or otherwise: what stands before `generate`, and what it is given."""
END_TEXT = "<|endoftext|>"
"""GPT-2's end of text, which ends outputs of other models that have it too."""
RECORDS = {
    (Scorer.e2e, Serialization.lora): "name : Blue Spice | Type : pub | area : city centre",
    (Scorer.e2e, Serialization.plain): "name[Blue Spice], eatType[pub], area[city centre]",
    (Scorer.webnlg, Serialization.lora): "Aarhus_Airport : cityServed : Aarhus",
    (Scorer.webnlg, Serialization.plain): "Aarhus_Airport | cityServed | Aarhus",
}
"""A record of each form. It is none of the run's: those may be private, and a card is public once it is pushed."""


@dataclass(frozen=True)
class Reading:
    """How the model is given what the run gave it."""

    lines: str = ""
    """Of Python, after those that load it; empty where `notes` alone tell."""
    notes: tuple[str, ...] = ()


def reading_of(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    head: HeadKind,
    experiment: ExperimentConfig,
    adapter: bool,
) -> Reading:
    """Cut to the task's length, words as `tasks.encode_words` gives them, without outputs of virtual tokens."""
    task: Any = experiment.task
    numbered = adapter and model.active_peft_config.peft_type in NUMBERED
    given = FIRST_TASK if numbered else ""
    if head is HeadKind.tokens:
        virtual = virtual_tokens(model) if adapter else None
        before = 0 if virtual is None or virtual.embeddings is None else virtual.count
        return tags_reading(task, given, before, blank=not cuts_words_as_text(tokenizer))
    if head is HeadKind.sequence and numbered:
        texts = ", ".join(json.dumps(text, ensure_ascii=False) for text in task.texts)
        return Reading(CLASS_TEXT.format(texts=texts, length=task.max_length, task=given))
    if head is HeadKind.sequence:
        pair = ('It reads a pair as `{"text": ..., "text_pair": ...}`.',) if len(task.texts) > 1 else ()
        return Reading(PIPELINE_TEXT.format(length=task.max_length), pair)
    poly = numbered and model.active_peft_config.peft_type is PeftType.POLY
    beams = task.decoding.beams if isinstance(task, GenerationTask) else 1
    if isinstance(task, GenerationTask) and not (poly and beams > 1 and model.config.is_encoder_decoder):
        rows = given.replace("(1,", f"({beams},") if poly else given  # PEFT does not repeat them for POLY
        columns = table_columns(task, experiment.data.source)
        return _writing(model, tokenizer, task, columns, rows, owner="base" if adapter else "model")
    labels = head is HeadKind.text_to_text and isinstance(task, ClassificationTask | RegressionTask)
    notes = [_asked(task)] if labels else []
    if numbered:
        notes.append(f"Every call takes `{FIRST_TASK.removeprefix(', ')}`, one for each input.")
    return Reading(notes=tuple(notes))


def tags_reading(task: TaggingTask, given: str, before: int, blank: bool) -> Reading:
    """Of a tagger; `before` virtual tokens have outputs of their own."""
    if task.long is LongSentences.windows:
        shared = f", sharing {task.stride} of them" if task.stride else ""
        read = f"a sentence in windows of at most {task.max_length} tokens, cut between words{shared}"
    else:
        read = f"of a sentence the words within the first {task.max_length} tokens, and tagged the others O"
    notes = [f"The run read {read}; these lines read all of it at once."]
    if not (given or before or blank):
        return Reading(TAGS_PIPELINE_TEXT, tuple(notes))
    if blank:
        notes.append("Every word is read with a blank before it, the first too.")
    lines = TAGS_TEXT.format(
        words='[f" {word}" for word in words]' if blank else "words",
        task=given,
        real=f"[:, {before}:]" if before else "",
    )
    return Reading(lines, (*notes, "A word without tokens is tagged O."))


def _writing(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    task: GenerationTask,
    columns: Sequence[str],
    given: str,
    owner: str,
) -> Reading:
    """Of a model that writes texts: a prompt as `tasks.generation.encode` makes it, outputs as its neighbours end and
    cut them. `owner` is what the lines call the model whose settings `generate` looks at."""
    decoding, both_halves = task.decoding, bool(model.config.is_encoder_decoder)
    record = written_record(task, columns)
    before, after = _frame(tokenizer, both_halves)
    start = model.config.decoder_start_token_id if both_halves else None
    named = {tokenizer.eos_token_id, tokenizer.get_vocab().get(END_TEXT)} - {None}
    unrepeated = UNREPEATED if decoding.no_repeat_ngram else ("", "")
    blank_line = BLANK_LINE if decoding.blank_line_ends else ("", "")
    text = f"text.split({END_TEXT!r})[0]" if named - set(tokenizer.all_special_ids) else "text"
    line = f'" ".join({text}.split("\\n\\n")[0].split())'
    lines = WRITING_TEXT.format(
        record=json.dumps(record, ensure_ascii=False),
        before="".join(f"{token}, " for token in before),
        after="".join(f", {token}" for token in after),
        start="1" if both_halves else "len(tokens)",
        beams=decoding.beams,
        penalty=decoding.length_penalty,
        stopping='"never"' if decoding.beams > 1 else False,
        longest=decoding.max_new_tokens,
        ends=sorted(named),
        padding=tokenizer.pad_token_id,
        more=f"    decoder_start_token_id={start},\n" if both_halves else "",
        owner=owner,
        setup=unrepeated[0].format(size=decoding.no_repeat_ngram) + blank_line[0],
        given=unrepeated[1] + blank_line[1] + (f"    {given.removeprefix(', ')},\n" if given else ""),
        shown=line if decoding.blank_line_ends else f"{text}.strip()",
    )
    return Reading(lines, _writing_notes(task, columns, both_halves))


def table_columns(task: GenerationTask, source: Source) -> list[str]:
    """The columns that a record was read from; none where the data have a benchmark's own form."""
    if task.table is not None:
        return list(task.table.inputs)
    read = {Source.local: task.local, Source.hub: task.hub}.get(source)
    if read is None or read.layout not in TABLES:
        return []
    said = read.columns.get("text", "text")
    return [said] if isinstance(said, str) else list(said)


def written_record(task: GenerationTask, columns: Sequence[str]) -> str:
    """A record in the task's form; of a table its columns, without any of its texts."""
    if not columns:
        return RECORDS[task.scorer, task.serialization]
    if task.serialization is Serialization.lora:
        columns = [RENAMED_KEYS.get(name, name) for name in columns]
    elif len(columns) == 1:
        return "..."
    return " | ".join(f"{name} : ..." for name in columns)


def _frame(tokenizer: PreTrainedTokenizerBase, both_halves: bool) -> tuple[list[int], list[int]]:
    """The tokens before and after a record: the tokenizer's own, but where a text goes on with what is written the
    begin of text, or else its end, stands after it."""
    before, after = special_frame(tokenizer)
    begin = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return before, after if both_halves else [begin]


def _writing_notes(task: GenerationTask, columns: Sequence[str], both_halves: bool) -> tuple[str, ...]:
    """What the lines do not say by themselves."""
    notes = []
    lora, tokenized = task.serialization is Serialization.lora, task.protocol is Protocol.tokenized
    if columns and lora and tokenized:
        notes.append(f"The run read a record's values as {task.protocol.value}.")
    elif not columns:
        form = f"The run read a record as {task.serialization.value}"
        if lora and task.scorer is Scorer.e2e:
            form += (
                ", with `eatType`, `priceRange` and `familyFriendly` as `Type`, `price` and `family friendly`"
            )
            if tokenized:
                form += f", its values as {task.protocol.value}"
        notes.append(f"{form}.")
    if task.decoding.no_repeat_ngram and not both_halves:
        notes.append(
            "N-grams are counted in what is written; transformers' `no_repeat_ngram_size` counts the record's too."
        )
    return (" ".join(notes),) if notes else ()


def _asked(task: ClassificationTask | RegressionTask) -> str:
    """How a model that writes labels is asked for one."""
    read, known = question(task, ["..."] * len(task.texts)), ", ".join(f"`{text}`" for text in answers(task))
    return f"It reads `{read}`, cut to {task.max_length} tokens, and writes one of {known}."
