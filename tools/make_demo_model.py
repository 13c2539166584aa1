"""Make the demonstration model: a small, real GGUF file of the BitNet architecture, packed as a release ships it.

    python tools/make_demo_model.py [--output fallback/models/bitnet_demo.tar.gz]

The file has what the real checkpoint has (the same architecture name, keys and tensor names, ternary weights, a
byte-level tokenizer), so that download, unpacking, header check and switch meet no special case. Its weights come from
a hash: it summarises nothing, and says so in its metadata and in the README beside it.

Needs the libraries `gguf` and `numpy`. The weights are the same for ever (SHAKE-256, not a random generator); the
archive's bytes are the same with the same `gguf` and zlib. After a change, put the size and the SHA-256 that this
prints into `model_manifest.json`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import tarfile
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import quantize
from numpy.typing import NDArray

# The real checkpoint's own name for its architecture (the `gguf` library's list calls its ancestor "bitnet").
ARCHITECTURE = "bitnet-b1.58"
# The real file's I2_S exists only in bitnet.cpp; TQ2_0 is the ternary type that GGUF's own libraries know and read.
TERNARY = gguf.GGMLQuantizationType.TQ2_0
MODEL_NAME = "ggml-model-i2_s.gguf"
BLOCKS, EMBEDDING, FEED_FORWARD, HEADS, KV_HEADS, CONTEXT = 2, 256, 512, 4, 1, 256
SAYS = (
    "Demonstration model of vvmigrate: it exercises download, verification, unpacking and switching. Its weights are "
    "derived from a hash and were never trained. It summarises nothing; use the variant 'full' for summaries."
)
README = f"""\
{MODEL_NAME}: demonstration model

{textwrap.fill(SAYS, 110)}

Modelo de demonstração do vvmigrate: serve para exercitar download, verificação, extração e troca de versão. Os pesos
derivam de um hash e nunca foram treinados. Não resume nada; para resumos, use a variante 'full'.

Format: GGUF version 3, architecture {ARCHITECTURE}, {BLOCKS} blocks, ternary weights (TQ2_0), made by
tools/make_demo_model.py. The file's name is the real model's, because that is where programs look for it.

Licence: MIT. Permission is granted, free of charge, to any person to use, copy, modify, publish and distribute these
files without restriction. They are provided "as is", without warranty of any kind.
"""


def noise(name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return bytes that depend on nothing but the tensor's name and shape."""
    count = int(np.prod(shape))
    return np.frombuffer(hashlib.shake_256(f"vvmigrate demo: {name}".encode()).digest(count), np.uint8).reshape(shape)


def ternary(name: str, rows: int, columns: int) -> NDArray[np.float32]:
    """Return weights of which each is -1, 0 or 1 times the tensor's scale, as in BitNet."""
    scale = np.float32(1 / 16)  # a power of two: exact in the half precision that TQ2_0 keeps it in
    return (noise(name, (rows, columns)).astype(np.float32) % np.float32(3) - np.float32(1)) * scale


def norm(width: int) -> NDArray[np.float32]:
    """Return a normalisation that changes nothing."""
    return np.ones(width, np.float32)


def tensors(vocabulary: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the model's tensors, named as in the real checkpoint."""
    embedding = (noise("token_embd.weight", (vocabulary, EMBEDDING)) % 8).astype(np.float32)
    yield "token_embd.weight", embedding / np.float32(8) - np.float32(0.5)
    key_width = EMBEDDING // HEADS * KV_HEADS
    for block in range(BLOCKS):
        prefix = f"blk.{block}."
        yield f"{prefix}attn_norm.weight", norm(EMBEDDING)
        yield f"{prefix}ffn_norm.weight", norm(EMBEDDING)
        yield f"{prefix}attn_sub_norm.weight", norm(EMBEDDING)
        yield f"{prefix}ffn_sub_norm.weight", norm(FEED_FORWARD)
        for part, rows, columns in (
            ("ffn_down", EMBEDDING, FEED_FORWARD),
            ("ffn_gate", FEED_FORWARD, EMBEDDING),
            ("ffn_up", FEED_FORWARD, EMBEDDING),
            ("attn_k", key_width, EMBEDDING),
            ("attn_output", EMBEDDING, EMBEDDING),
            ("attn_q", EMBEDDING, EMBEDDING),
            ("attn_v", key_width, EMBEDDING),
        ):
            name = f"{prefix}{part}.weight"
            yield name, ternary(name, rows, columns)
    yield "output_norm.weight", norm(EMBEDDING)


def byte_tokens() -> list[str]:
    """Return the 256 byte tokens of GPT-2's alphabet, one merged token and one that ends a text."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    letters = {byte: chr(256 + number) for number, byte in enumerate(others)}
    return [letters.get(byte, chr(byte)) for byte in range(256)] + [letters[0x20] * 2, "<|end_of_text|>"]


def describe(writer: gguf.GGUFWriter, tokens: list[str]) -> None:
    """Write the metadata: what it is first, then what a program needs to load it."""
    writer.add_name("vvmigrate demo (not a real summariser)")
    writer.add_description(SAYS)
    writer.add_license("MIT")
    writer.add_tags(["demo", "untrained"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_TQ2_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(len(tokens))
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(EMBEDDING // HEADS)
    writer.add_rope_freq_base(500_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 1) + [gguf.TokenType.CONTROL])
    # Loaders refuse a tokenizer without any merge: two spaces are the one that this has.
    writer.add_token_merges([" ".join(tokens[-2])])
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 1)


def make_gguf() -> bytes:
    """Return the model file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, MODEL_NAME)
        writer = gguf.GGUFWriter(path, ARCHITECTURE)
        tokens = byte_tokens()
        describe(writer, tokens)
        for name, weights in tensors(len(tokens)):
            if name == "token_embd.weight":
                writer.add_tensor(name, weights.astype(np.float16))
            elif weights.ndim == 1:
                writer.add_tensor(name, weights)
            else:
                writer.add_tensor(name, quantize(weights, TERNARY), raw_dtype=TERNARY)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def pack(files: dict[str, bytes]) -> bytes:
    """Return a `.tar.gz` whose bytes depend on nothing but its contents: no date, owner, order or name of its own."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as compressed,
        tarfile.open(mode="w", fileobj=compressed, format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)  # date, owner and group are 0 and mode 0644 unless told
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def main() -> None:
    """Make the archive and print what the manifest says about it."""
    parser = argparse.ArgumentParser(description="Make the demonstration model.")
    parser.add_argument("--output", type=Path, default=Path("fallback/models/bitnet_demo.tar.gz"), help="the archive")
    output = parser.parse_args().output
    files = {MODEL_NAME: make_gguf(), "README.txt": README.encode()}
    packed = pack(files)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(packed)
    for name, data in {output.name: packed, **files}.items():
        print(f"{name}: size_bytes {len(data)}, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
