"""A llama.cpp server with a tiny model of random weights, made on the spot: `python llama_server.py FOLDER`.

Prints its address, then serves until its standard input ends. The model says nonsense, but in letters, and llama.cpp's
own server tells it on every wire that it speaks.
"""

from __future__ import annotations

import string
import sys
from pathlib import Path
from typing import Final

import gguf
import numpy as np
import xllamacpp

WIDTH: Final = 32
HEADS: Final = 2
INNER: Final = 64
CONTEXT: Final = 2048
TEMPLATE: Final = (
    "{% for message in messages %}{{ message.role }} {{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)


def write_model(path: Path) -> None:
    """Write a llama of one layer, whose words are letters."""
    random = np.random.default_rng(7)
    control, plain = ["<unk>", "<s>", "</s>"], [f"<0x{byte:02X}>" for byte in range(256)]
    letters = ["\u2581", *string.ascii_letters, *(f"\u2581{letter}" for letter in string.ascii_lowercase)]
    tokens = [*control, *plain, *letters]
    types = [2, 3, 3, *[6] * len(plain), *[1] * len(letters)]

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(place) for place in range(len(tokens))])
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(0, 0.3, shape).astype(np.float32))

    tensor("token_embd.weight", len(tokens), WIDTH)
    for name in ("q", "k", "v", "output"):
        tensor(f"blk.0.attn_{name}.weight", WIDTH, WIDTH)
    for name, shape in (("gate", (INNER, WIDTH)), ("up", (INNER, WIDTH)), ("down", (WIDTH, INNER))):
        tensor(f"blk.0.ffn_{name}.weight", *shape)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        writer.add_tensor(name, np.ones(WIDTH, dtype=np.float32))
    # Rows of zeros are never the likeliest: so it says letters, and never ends by itself.
    output = random.normal(0, 1, (len(tokens), WIDTH)).astype(np.float32)
    output[: len(control) + len(plain)] = 0
    writer.add_tensor("output.weight", output)

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(folder: Path) -> None:
    """Serve until standard input ends."""
    path = folder / "tiny.gguf"
    write_model(path)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = CONTEXT
    params.cpuparams.n_threads = 1
    params.hostnames, params.port = ["127.0.0.1"], 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
