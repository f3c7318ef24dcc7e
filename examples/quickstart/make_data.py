#!/usr/bin/env python3
"""Writes the quickstart task: a tiny untrained model and three sets of rows. Standard library only; the same seed gives the same bytes.

    python3 examples/quickstart/make_data.py            # writes beside this script

The task is to follow small instructions on made-up words ("Spell tomaki backwards." -> "ikamot"), so every answer can be checked exactly.

sft.jsonl     what the starting model is trained on: answers as one gets them by scraping. Some are right, the others echo the word,
              stop short or babble on. The model learns the tasks and the bad habits alike.
golden.jsonl  right answers, for alignment.
test.jsonl    right answers, for evaluation. No word of one file is in another.
untrained/    a character-level Llama with random weights, in Hugging Face's layout.
"""

import json
import random
import struct
from pathlib import Path

HERE = Path(__file__).parent
SEED = 7
SFT_ROWS, GOLDEN_ROWS, TEST_ROWS = 16384, 512, 400
# Share of the answers of sft.jsonl that are right; the others are split evenly between the three bad habits.
RIGHT_SHARE = 0.4

VOWELS = "aeiou"
CONSONANTS = "bdfgklmnprstvz"

# What is asked, in two wordings, and the one right answer.
TASKS = [
    (("Spell {} backwards.", "Reverse {}."), lambda w: w[::-1]),
    (("Write {} in capitals.", "Shout {}."), lambda w: w.upper()),
    (("Repeat {} twice.", "Say {} two times."), lambda w: f"{w} {w}"),
    (("Which vowels has {}?", "List the vowels of {}."), lambda w: "".join(c for c in w if c in VOWELS)),
    (("Spell {}.", "Spell out {}."), lambda w: "-".join(w)),
    (("Cut the first letter off {}.", "Say {} without its first letter."), lambda w: w[1:]),
]

# ---- rows


def word(rng):
    """A made-up word of 3 to 6 letters, e.g. `tomaki`."""
    return "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(3))[: rng.randint(3, 6)]


def spoil(rng, w, answer):
    """The answer after one of the bad habits."""
    habit = rng.choice(["echo", "stop short", "babble on"])
    if habit == "echo" or len(answer) == 1:
        return w
    if habit == "stop short":
        return answer[: rng.randrange(1, len(answer))]
    return answer + "".join(" " + word(rng) for _ in range(rng.randint(1, 2)))


def make_rows(rng, count, taken, right_share):
    """`count` rows whose words are not in `taken`, and the set of their words."""
    used, rows = set(), []
    while len(rows) < count:
        w = word(rng)
        if w in taken:
            continue
        used.add(w)
        wordings, solve = rng.choice(TASKS)
        answer = solve(w)
        if rng.random() >= right_share:
            answer = spoil(rng, w, answer)
        rows.append({"prompt": rng.choice(wordings).format(w), "completion": answer})
    return rows, used


# ---- model

PAD, USER, ASSISTANT, END, UNKNOWN = range(5)
SPECIAL = ["<|pad|>", "<|user|>", "<|assistant|>", "<|end|>", "<|unknown|>"]
VOCAB = SPECIAL + [chr(c) for c in range(32, 127)]

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": len(VOCAB),
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 24,
    "max_position_embeddings": 128,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "pad_token_id": PAD,
    "eos_token_id": END,
    "torch_dtype": "float32",
}

TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {"id": i, "content": t, "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        for i, t in enumerate(SPECIAL)
    ],
    "normalizer": None,
    # One token per character, and no space put between them when they become text again.
    "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False},
    "post_processor": None,
    "decoder": {"type": "Fuse"},
    "model": {"type": "WordLevel", "vocab": {t: i for i, t in enumerate(VOCAB)}, "unk_token": SPECIAL[UNKNOWN]},
}

TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": SPECIAL[END],
    "pad_token": SPECIAL[PAD],
    "unk_token": SPECIAL[UNKNOWN],
    "model_max_length": CONFIG["max_position_embeddings"],
    "clean_up_tokenization_spaces": False,
}

TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
<|user|>{{ message['content'] }}
{%- elif message['role'] == 'assistant' -%}
<|assistant|>{{ message['content'] }}<|end|>
{%- else -%}
{{ raise_exception("the quickstart model knows the roles user and assistant only") }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|assistant|>
{%- endif -%}
"""


def random_weights(rng):
    """Name, shape, numbers: norms at 1, everything else normal. 0.08 is about 1 / sqrt(hidden_size): with the 0.02 that suits wide models, one as
    narrow as this takes a thousand steps longer to learn to copy."""
    d, f, v = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["vocab_size"]
    shapes = {"model.embed_tokens.weight": (v, d), "model.norm.weight": (d,)}
    for i in range(CONFIG["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {layer + f"self_attn.{p}_proj.weight": (d, d) for p in "qkvo"}
        shapes |= {layer + "mlp.gate_proj.weight": (f, d), layer + "mlp.up_proj.weight": (f, d), layer + "mlp.down_proj.weight": (d, f)}
        shapes |= {layer + "input_layernorm.weight": (d,), layer + "post_attention_layernorm.weight": (d,)}
    for name, shape in sorted(shapes.items()):
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        yield name, shape, [1.0] * count if len(shape) == 1 else [rng.gauss(0.0, 0.08) for _ in range(count)]


def write_safetensors(path, tensors):
    """The format: length of the header, header as JSON, the numbers one tensor after the other."""
    header, data = {"__metadata__": {"format": "pt"}}, bytearray()
    for name, shape, numbers in tensors:
        start = len(data)
        data += struct.pack(f"<{len(numbers)}f", *numbers)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


# ---- files


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def main():
    rng = random.Random(SEED)
    test, test_words = make_rows(rng, TEST_ROWS, set(), 1.0)
    golden, golden_words = make_rows(rng, GOLDEN_ROWS, test_words, 1.0)
    sft, _ = make_rows(rng, SFT_ROWS, test_words | golden_words, RIGHT_SHARE)
    write_jsonl(HERE / "test.jsonl", test)
    write_jsonl(HERE / "golden.jsonl", golden)
    write_jsonl(HERE / "sft.jsonl", sft)

    model = HERE / "untrained"
    model.mkdir(exist_ok=True)
    write_json(model / "config.json", CONFIG)
    write_json(model / "generation_config.json", {"eos_token_id": END, "pad_token_id": PAD})
    write_json(model / "tokenizer.json", TOKENIZER)
    write_json(model / "tokenizer_config.json", TOKENIZER_CONFIG)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    write_safetensors(model / "model.safetensors", random_weights(rng))


if __name__ == "__main__":
    main()
