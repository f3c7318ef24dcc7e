"""What the toy examples share: small instructions on made-up words, forms around their answers, and a tiny untrained model. Standard library
only; the same generator gives the same bytes.

An instruction has one right answer ("Spell tomaki backwards." -> "ikamot"), so every answer can be checked. Where answers have forms, a form
drawn at random stands around a content. The form is harmless; the content is right or wrong, and wrong by degrees:

    -> "ikamot" :)          Ok 'ikamot'.          # <ikamod>!          "ika"
"""

import json
import random
import struct
from pathlib import Path

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

BOILERPLATE = "No idea."
OPENINGS = ["", "-> ", "So ", "= ", "Hm ", "* ", "Ok ", "# "]
QUOTES = ['""', "''", "<>"]
CLOSINGS = ["", ".", "!", " :)", " ok", "?", ";", " ~"]

# ---- rows


def word(rng):
    """A made-up word of 3 to 6 letters, e.g. `tomaki`."""
    return "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(3))[: rng.randint(3, 6)]


def form(rng, content):
    """The content in one of 192 forms."""
    opening, quotes, closing = rng.choice(OPENINGS), rng.choice(QUOTES), rng.choice(CLOSINGS)
    return f"{opening}{quotes[0]}{content}{quotes[1]}{closing}"


def spoil(rng, w, right):
    """A wrong content, by degrees: another letter somewhere, stopped short, babbled on, or the word itself."""
    habit = rng.choice(["slip", "stop short", "babble on", "echo"])
    if habit == "slip":
        i = rng.choice([i for i, c in enumerate(right) if c.isalpha()])
        c = rng.choice([c for c in VOWELS + CONSONANTS if c != right[i].lower()])
        return right[:i] + (c.upper() if right[i].isupper() else c) + right[i + 1 :]
    if habit == "stop short" and len(right) > 1:
        return right[: rng.randrange(1, len(right))]
    if habit == "echo" and w != right:
        return w
    return right + "".join(" " + word(rng) for _ in range(rng.randint(1, 2)))


def make_rows(rng, count, taken, right_share, boilerplate_share=0.0):
    """`count` rows whose words are not in `taken`, and the set of their words. `boilerplate_share` of the answers is BOILERPLATE, of the others
    `right_share` is right."""
    used, rows = set(), []
    while len(rows) < count:
        w = word(rng)
        if w in taken:
            continue
        used.add(w)
        wordings, solve = rng.choice(TASKS)
        prompt, right = rng.choice(wordings).format(w), solve(w)
        if rng.random() < boilerplate_share:
            completion = BOILERPLATE
        else:
            completion = form(rng, right if rng.random() < right_share else spoil(rng, w, right))
        rows.append({"prompt": prompt, "completion": completion})
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


def write_untrained(path, rng):
    """The model in `path`, a folder in Hugging Face's layout."""
    path.mkdir(exist_ok=True)
    write_json(path / "config.json", CONFIG)
    write_json(path / "generation_config.json", {"eos_token_id": END, "pad_token_id": PAD})
    write_json(path / "tokenizer.json", TOKENIZER)
    write_json(path / "tokenizer_config.json", TOKENIZER_CONFIG)
    (path / "chat_template.jinja").write_text(TEMPLATE)
    write_safetensors(path / "model.safetensors", random_weights(rng))


# ---- files


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")
