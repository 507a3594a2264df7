"""Firefox translation models of a few words, with weights set by hand: they are real, only small.

The encoder has no layers. The decoder has one, whose attention looks at the source word at the position that is being
written, and whose value is the word that stands for it: a dictionary. Layout of the files: Marian's binary format,
SentencePiece's protocol buffer, and Marian's binary shortlist.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_DIM = 64
# Frequencies of the position code fall from 1: the first ones tell positions apart, the later ones hardly move.
_POSITIONS = [*range(4), *range(_DIM // 2, _DIM // 2 + 4)]
_STILL = 10
_FIRST_WORD = 12
_ROWS = 16
_INT8, _FLOAT32, _INTGEMM8 = 0x101, 0x404, 0x4101

Matrix = NDArray[np.float64]


def write_pair(folder: Path, source: str, target: str, words: Mapping[str, str]) -> Path:
    """Write a pair's files as Mozilla names them; the folder of the pair is returned."""
    pair, inside = f"{source}{target}", folder / f"{source}-{target}"
    inside.mkdir(parents=True)
    pieces = ["</s>", "<unk>", *dict.fromkeys(f"\u2581{word}" for each in words.items() for word in each)]
    meanings = {0: 0, 1: 1} | {pieces.index(f"\u2581{one}"): pieces.index(f"\u2581{two}") for one, two in words.items()}
    (inside / f"model.{pair}.intgemm.alphas.bin").write_bytes(_model(meanings))
    (inside / f"vocab.{pair}.spm").write_bytes(_vocabulary(pieces))
    (inside / f"lex.50.50.{pair}.s2t.bin").write_bytes(_shortlist(meanings))
    return inside


def _model(meanings: Mapping[int, int]) -> bytes:
    words = np.zeros((_ROWS, _DIM))
    words[np.arange(_ROWS), _FIRST_WORD + np.arange(_ROWS)] = 1
    items: dict[str, tuple[int, tuple[int, ...], bytes]] = {"Wemb": _quantised(words, transpose=False)}

    def add(name: str, weight: Matrix, largest_input: float, bias: str | None) -> None:
        items[name] = _quantised(weight)
        items[f"{name}_QuantMultA"] = _floats([127 / largest_input])
        if bias is not None:
            items[bias] = _floats([0.0] * weight.shape[1])

    query, key, value, out = (np.zeros((_DIM, _DIM)) for _ in range(4))
    key[_POSITIONS, _POSITIONS] = query[_POSITIONS, _POSITIONS] = 10
    # What normalisation took off each of them is seen where nothing else is.
    query[_STILL, _POSITIONS] = -10
    value[_FIRST_WORD:, _FIRST_WORD:] = np.eye(_DIM - _FIRST_WORD)
    for one, other in meanings.items():
        out[_FIRST_WORD + one, _FIRST_WORD + other] = 10
    layer = "decoder_l1"
    for letter, weight, largest in (("q", query, 2), ("k", key, 1), ("v", value, 8), ("o", out, 8)):
        add(f"{layer}_context_W{letter}", weight, largest, f"{layer}_context_b{letter}")
    for name, bias in (("rnn_W", None), ("rnn_Wf", "rnn_bf"), ("ffn_W1", "ffn_b1"), ("ffn_W2", "ffn_b2")):
        add(f"{layer}_{name}", np.zeros((_DIM, _DIM)), 8, f"{layer}_{bias}" if bias else None)
    for name in ("rnn_ffn", "context_Wo", "ffn_ffn"):
        items[f"{layer}_{name}_ln_scale"] = _floats([1.0] * _DIM)
        items[f"{layer}_{name}_ln_bias"] = _floats([0.0] * _DIM)
    items["none_QuantMultA"] = _floats([127 / 8])
    items["decoder_ff_logit_out_b"] = _floats([0.0] * _ROWS)
    sizes = f"dim-emb: {_DIM}\ntransformer-dim-ffn: {_DIM}\ntransformer-heads: 1\nenc-depth: 0\ndec-depth: 1\n".encode()
    items["special:model.yml"] = (_INT8, (len(sizes),), sizes)
    return _binary(items)


def _floats(values: list[float]) -> tuple[int, tuple[int, ...], bytes]:
    return _FLOAT32, (1, len(values)), np.array(values, "<f4").tobytes()


def _quantised(weight: Matrix, *, transpose: bool = True) -> tuple[int, tuple[int, ...], bytes]:
    scale = 127 / max(1.0, float(abs(weight).max()))
    values = np.round((weight.T if transpose else weight) * scale).astype(np.int8)
    return _INTGEMM8, weight.shape, values.tobytes() + struct.pack("<f", scale)


def _binary(items: Mapping[str, tuple[int, tuple[int, ...], bytes]]) -> bytes:
    head = struct.pack("<QQ", 1, len(items))
    head += b"".join(
        struct.pack("<4Q", len(name) + 1, kind, len(shape), len(data)) for name, (kind, shape, data) in items.items()
    )
    head += b"".join(name.encode() + b"\0" for name in items)
    head += b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, shape, _ in items.values())
    gap = -(len(head) + 8) % 256
    return head + struct.pack("<Q", gap) + bytes(gap) + b"".join(data for _, _, data in items.values())


def _vocabulary(pieces: list[str]) -> bytes:
    kinds = {"</s>": 3, "<unk>": 2}
    written = b""
    for piece in pieces:
        text = piece.encode()
        inner = bytes([0x0A, len(text)]) + text + b"\x15" + struct.pack("<f", -1.0) + bytes([0x18, kinds.get(piece, 1)])
        written += bytes([0x0A, len(inner)]) + inner
    return written


def _shortlist(meanings: Mapping[int, int]) -> bytes:
    offsets, found = [0], []
    for row in range(_ROWS):
        found += [meanings[row]] if row in meanings else []
        offsets.append(len(found))
    sizes = (0xF11A48D5013417F5, 0, 2, 1, len(offsets), len(found))
    return (
        struct.pack("<6Q", *sizes) + struct.pack(f"<{len(offsets)}Q", *offsets) + struct.pack(f"<{len(found)}I", *found)
    )
