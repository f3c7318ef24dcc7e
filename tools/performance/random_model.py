#!/usr/bin/env python3
"""A model of random bf16 weights in the shape of a known size, as shards with an index: to measure memory and speed, not to talk to.

    tools/performance/random_model.py OUT [--size 1b|7b]

7b is Mistral-7B-v0.1's shape (14.5 GB on the disk), 1b TinyLlama's widths under Mistral's config (2.2 GB). Nothing is held in memory but a
piece of a tensor. There is no tokenizer: `ldalign bench` makes up tokens.

    ldalign bench --model OUT --lora 16 --quantize nf4 --batch 1 --max-length 256 --steps 2 --stages train,generate
"""

import argparse
import json
import pathlib

import numpy as np

SIZES = {
    "1b": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4},
    "7b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
}
VOCABULARY = 32000
SHARD = 4 << 30  # bytes
PIECE = 1 << 24  # numbers


def tensors(c):
    """Names, shapes and standard deviations; norms are about 1."""
    h, f, head = c["hidden_size"], c["intermediate_size"], c["hidden_size"] // c["num_attention_heads"]
    kv = c["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", (VOCABULARY, h)
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        yield f"{layer}.input_layernorm.weight", (h,)
        for name, shape in (("q", (h, h)), ("k", (kv, h)), ("v", (kv, h)), ("o", (h, h))):
            yield f"{layer}.self_attn.{name}_proj.weight", shape
        yield f"{layer}.post_attention_layernorm.weight", (h,)
        for name, shape in (("gate", (f, h)), ("up", (f, h)), ("down", (h, f))):
            yield f"{layer}.mlp.{name}_proj.weight", shape
    yield "model.norm.weight", (h,)
    yield "lm_head.weight", (VOCABULARY, h)


def bf16(numbers):
    """Rounded to nearest even."""
    bits = numbers.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def write(path, shard, random):
    """One safetensors file."""
    header, at = {}, 0
    for name, shape in shard:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for _, shape in shard:
            count = int(np.prod(shape))
            mean, deviation = (1.0, 0.1) if len(shape) == 1 else (0.0, 0.02)
            for start in range(0, count, PIECE):
                numbers = random.standard_normal(min(PIECE, count - start), dtype=np.float32)
                out.write(bf16(mean + deviation * numbers).tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--size", choices=SIZES, default="7b")
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    config = SIZES[args.size] | {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": VOCABULARY, "hidden_act": "silu",
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": None,
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "dtype": "bfloat16",
    }
    (args.out / "config.json").write_text(json.dumps(config, indent=2))
    shards, room = [[]], SHARD
    for name, shape in tensors(config):
        size = 2 * int(np.prod(shape))
        if shards[-1] and room < size:
            shards.append([])
            room = SHARD
        shards[-1].append((name, shape))
        room -= size
    random, places, total = np.random.default_rng(0), {}, 0
    for i, shard in enumerate(shards, 1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        write(args.out / file, shard, random)
        places |= {name: file for name, _ in shard}
        total += sum(2 * int(np.prod(shape)) for _, shape in shard)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (args.out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


main()
