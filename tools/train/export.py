"""Writes a checkpoint as a GGUF file of architecture deepseek2, float32 or float16.

    python3 export.py WORK_DIR OUT.gguf [f32|f16]

Quantised files are then made with `seamount quantize`. In float16 files the norms and routers stay float32, as everywhere.
"""
import struct
import sys
from pathlib import Path

import numpy
import torch

import vocab as vocabulary

ALIGNMENT = 32
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
FLOAT32, FLOAT16 = 0, 1

# The template of DeepSeek-V2.5, written for this model: a beginning, the system text, then turns between two special tokens.
CHAT_TEMPLATE = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}"
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '<｜Assistant｜>' + message['content'] + eos_token }}"
    "{% elif message['role'] == 'system' %}{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}")


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def key(name, kind, value):
    if kind == STRING:
        return text(name) + struct.pack("<I", STRING) + text(value)
    return text(name) + struct.pack("<I", kind) + struct.pack({U32: "<I", F32: "<f", BOOL: "<?"}[kind], value)


def array(name, kind, values):
    head = text(name) + struct.pack("<IIQ", ARRAY, kind, len(values))
    return head + b"".join(text(v) if kind == STRING else struct.pack("<i", v) for v in values)


def metadata(c, words, half):
    a = "deepseek2."
    numbers = [
        ("block_count", c["n_layers"]), ("context_length", c["n_ctx"]), ("embedding_length", c["n_embd"]),
        ("feed_forward_length", c["n_ff"]), ("attention.head_count", c["n_heads"]), ("attention.head_count_kv", 1),
        ("attention.q_lora_rank", c["q_rank"]), ("attention.kv_lora_rank", c["kv_rank"]),
        ("attention.key_length", c["kv_rank"] + c["rope"]), ("attention.value_length", c["kv_rank"]),
        ("attention.key_length_mla", c["nope"] + c["rope"]), ("attention.value_length_mla", c["value"]),
        ("rope.dimension_count", c["rope"]), ("rope.scaling.original_context_length", c["yarn_original"]),
        ("leading_dense_block_count", c["n_dense"]), ("expert_count", c["n_experts"]), ("expert_used_count", c["n_used"]),
        ("expert_shared_count", c["n_shared"]), ("expert_feed_forward_length", c["n_ff_expert"]), ("expert_gating_func", 1),
        ("expert_group_count", c["n_groups"]), ("expert_group_used_count", c["n_groups_used"]), ("vocab_size", c["n_vocab"])]
    reals = [("attention.layer_norm_rms_epsilon", c["eps"]), ("rope.freq_base", c["theta"]), ("rope.scaling.factor", c["yarn_factor"]),
             ("rope.scaling.yarn_log_multiplier", c["yarn_log"]), ("rope.scaling.yarn_beta_fast", c["beta_fast"]),
             ("rope.scaling.yarn_beta_slow", c["beta_slow"]), ("expert_weights_scale", c["weight_scale"])]
    s, t = words.special, "tokenizer.ggml."
    control = set(s.values())
    keys = [key("general.architecture", STRING, "deepseek2"), key("general.type", STRING, "model"),
            key("general.name", STRING, "seamount-coder"), key("general.size_label", STRING, "10M"),
            key("general.license", STRING, "apache-2.0"), key("general.file_type", U32, 1 if half else 0),
            key("general.quantization_version", U32, 2)]
    keys += [key(a + name, U32, value) for name, value in numbers]
    keys += [key(a + name, F32, value) for name, value in reals]
    keys += [key(a + "rope.scaling.type", STRING, "yarn"), key(a + "expert_weights_norm", BOOL, False),
             key(t + "model", STRING, "gpt2"), key(t + "pre", STRING, "deepseek-coder"), array(t + "tokens", STRING, words.texts),
             array(t + "token_type", I32, [3 if i in control else 1 for i in range(len(words.texts))]),
             array(t + "merges", STRING, [f"{left} {right}" for left, right in words.merges]),
             key(t + "bos_token_id", U32, words.bos), key(t + "eos_token_id", U32, words.eos),
             key(t + "padding_token_id", U32, s["<｜▁pad▁｜>"]), key(t + "fim_pre_token_id", U32, s["<｜fim▁begin｜>"]),
             key(t + "fim_suf_token_id", U32, s["<｜fim▁hole｜>"]), key(t + "fim_mid_token_id", U32, s["<｜fim▁end｜>"]),
             key(t + "add_bos_token", BOOL, True), key(t + "add_eos_token", BOOL, False),
             key("tokenizer.chat_template", STRING, CHAT_TEMPLATE)]
    return keys


def tensors(c, state):
    """(GGUF name, array): matrices [rows, row length] or planes of them, norms [n]."""
    def get(name):
        return state[name].float().numpy()
    yield "token_embd.weight", get("token_embd")
    yield "output_norm.weight", get("output_norm.weight")
    yield "output.weight", get("output")
    for i in range(c["n_layers"]):
        p, b = f"layers.{i}.", f"blk.{i}."
        yield b + "attn_norm.weight", get(p + "attn_norm.weight")
        yield b + "attn_q_a.weight", get(p + "attn.q_a")
        yield b + "attn_q_a_norm.weight", get(p + "attn.q_a_norm.weight")
        yield b + "attn_q_b.weight", get(p + "attn.q_b")
        yield b + "attn_kv_a_mqa.weight", get(p + "attn.kv_a")
        yield b + "attn_kv_a_norm.weight", get(p + "attn.kv_a_norm.weight")
        yield b + "attn_k_b.weight", get(p + "attn.k_b").reshape(c["n_heads"], c["nope"], c["kv_rank"]).transpose(0, 2, 1)
        yield b + "attn_v_b.weight", get(p + "attn.v_b").reshape(c["n_heads"], c["value"], c["kv_rank"])
        yield b + "attn_output.weight", get(p + "attn.output")
        yield b + "ffn_norm.weight", get(p + "ffn_norm.weight")
        if i < c["n_dense"]:
            for part in ("gate", "up", "down"):
                yield f"{b}ffn_{part}.weight", get(f"{p}ffn.{part}")
            continue
        yield b + "ffn_gate_inp.weight", get(p + "ffn.router")
        gate_up = get(p + "ffn.gate_up")
        yield b + "ffn_gate_exps.weight", gate_up[:, :c["n_ff_expert"]]
        yield b + "ffn_up_exps.weight", gate_up[:, c["n_ff_expert"]:]
        yield b + "ffn_down_exps.weight", get(p + "ffn.down")
        for part in ("gate", "up", "down"):
            yield f"{b}ffn_{part}_shexp.weight", get(f"{p}ffn.shared.{part}")


def padded(data):
    return data + bytes(-len(data) % ALIGNMENT)


def write(path, c, words, state, half):
    infos, blobs, offset = [], [], 0
    for name, values in tensors(c, state):
        narrow = half and values.ndim > 1 and "ffn_gate_inp" not in name
        blob = numpy.ascontiguousarray(values, numpy.float16 if narrow else numpy.float32).tobytes()
        dims = values.shape[::-1]
        infos.append(text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, FLOAT16 if narrow else FLOAT32, offset))
        blobs.append(padded(blob))
        offset += len(blobs[-1])
    keys = metadata(c, words, half)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(keys)) + b"".join(keys) + b"".join(infos)
    Path(path).write_bytes(padded(header) + b"".join(blobs))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], ["f32"], ["f16"]):
        sys.exit(__doc__)
    checkpoint = torch.load(Path(sys.argv[1]) / "checkpoint.pt", map_location="cpu")
    write(sys.argv[2], checkpoint["config"], vocabulary.load(sys.argv[1]), checkpoint["model"], sys.argv[3:] == ["f16"])
    print(f"{sys.argv[2]}: step {checkpoint['step']} of {checkpoint['steps']}, {Path(sys.argv[2]).stat().st_size} bytes")
