"""`convert` as other programs see it: messages, exit statuses, what is left behind; memory; and the published models in full size.

The checkpoints are written here, with the standard library alone. Those of full size are files with holes: headers of the true
shapes over hundreds of gigabytes that take no space, which a dry run goes through without reading any data.
"""
import array
import json
import os
import random
import resource
import struct
import subprocess
import tempfile

import cli

SIZES = {"F32": 4, "BF16": 2, "F8_E4M3": 1}
PRE = {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"Regex": "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"Regex": "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
                                           " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"},
     "behavior": "Isolated", "invert": False},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}


def byte_characters():
    """Byte-level vocabularies write each byte as a visible character."""
    visible = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    hidden = [b for b in range(256) if b not in visible]
    return [chr(b) for b in visible] + [chr(256 + i) for i in range(len(hidden))]


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f)


def write_tokenizer(folder):
    vocab = {c: i for i, c in enumerate(byte_characters())}
    vocab["th"] = 256
    write_json(folder, "tokenizer.json", {
        "added_tokens": [{"id": 257, "content": "<s>", "special": True}, {"id": 258, "content": "</s>", "special": True}],
        "normalizer": None, "pre_tokenizer": PRE,
        "model": {"type": "BPE", "byte_fallback": False, "vocab": vocab, "merges": ["t h"]}})
    write_json(folder, "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True})


def write_shard(path, tensors, fill=None):
    """tensors: name -> (dtype, shape). The data is what `fill` gives for a number of bytes, or a hole."""
    header, at = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = SIZES[dtype]
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        if fill:
            f.write(fill(at))
        f.truncate(8 + len(text) + at)


def write_checkpoint(folder, config, tensors, n_shards=1, fill=None):
    write_tokenizer(folder)
    write_json(folder, "config.json", config)
    if n_shards == 1:
        write_shard(os.path.join(folder, "model.safetensors"), tensors, fill)
        return
    names, where = list(tensors), {}
    for s in range(n_shards):
        part = names[s * len(names) // n_shards:(s + 1) * len(names) // n_shards]
        shard = "model-%05d-of-%06d.safetensors" % (s + 1, n_shards)
        write_shard(os.path.join(folder, shard), {name: tensors[name] for name in part}, fill)
        where.update({name: shard for name in part})
    write_json(folder, "model.safetensors.index.json", {"weight_map": where})


def values(n_bytes):
    """BF16 numbers of order 1."""
    source = random.Random(1)
    return array.array("H", [0x3c00 + source.randrange(0x400) for _ in range(n_bytes // 2)]).tobytes()


def swiglu(prefix, hidden, width):
    return {prefix + "gate_proj.weight": [width, hidden], prefix + "up_proj.weight": [width, hidden],
            prefix + "down_proj.weight": [hidden, width]}


def tensors_of(c, f8=False, further=0):
    """Names and shapes of a model, from the numbers of its config.json."""
    hidden, heads, latent = c["hidden_size"], c["num_attention_heads"], "kv_lora_rank" in c
    shapes = {"model.embed_tokens.weight": [c["vocab_size"], hidden], "model.norm.weight": [hidden],
              "lm_head.weight": [c["vocab_size"], hidden]}
    for i in range(c["num_hidden_layers"] + further):
        layer = "model.layers.%d." % i
        shapes[layer + "input_layernorm.weight"] = shapes[layer + "post_attention_layernorm.weight"] = [hidden]
        a = layer + "self_attn."
        if latent:
            nope, rope, value, rank = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"], c["kv_lora_rank"]
            if c["q_lora_rank"]:
                shapes[a + "q_a_proj.weight"] = [c["q_lora_rank"], hidden]
                shapes[a + "q_a_layernorm.weight"] = [c["q_lora_rank"]]
                shapes[a + "q_b_proj.weight"] = [heads * (nope + rope), c["q_lora_rank"]]
            else:
                shapes[a + "q_proj.weight"] = [heads * (nope + rope), hidden]
            shapes[a + "kv_a_proj_with_mqa.weight"] = [rank + rope, hidden]
            shapes[a + "kv_a_layernorm.weight"] = [rank]
            shapes[a + "kv_b_proj.weight"] = [heads * (nope + value), rank]
            shapes[a + "o_proj.weight"] = [hidden, heads * value]
        else:
            head, kv = hidden // heads, c.get("num_key_value_heads", heads)
            shapes.update({a + "q_proj.weight": [hidden, hidden], a + "k_proj.weight": [kv * head, hidden],
                           a + "v_proj.weight": [kv * head, hidden], a + "o_proj.weight": [hidden, hidden]})
        if i < c.get("first_k_dense_replace", 1 << 30):
            shapes.update(swiglu(layer + "mlp.", hidden, c["intermediate_size"]))
            continue
        shapes[layer + "mlp.gate.weight"] = [c["n_routed_experts"], hidden]
        if c.get("topk_method") == "noaux_tc":
            shapes[layer + "mlp.gate.e_score_correction_bias"] = [c["n_routed_experts"]]
        for e in range(c["n_routed_experts"]):
            shapes.update(swiglu("%smlp.experts.%d." % (layer, e), hidden, c["moe_intermediate_size"]))
        shapes.update(swiglu(layer + "mlp.shared_experts.", hidden, c["n_shared_experts"] * c["moe_intermediate_size"]))
    result = {}
    for name, shape in shapes.items():
        quantised = f8 and "_proj" in name
        result[name] = ("F8_E4M3" if quantised else "BF16", shape)
        if quantised:
            result[name + "_scale_inv"] = ("F32", [-(-n // 128) for n in shape])
    return result


COMMON = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 4096}
SMALL = dict(COMMON, architectures=["LlamaForCausalLM"], hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, intermediate_size=128, vocab_size=264)
YARN = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1}
LATENT = dict(COMMON, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, moe_layer_freq=1)
V2 = dict(LATENT, architectures=["DeepseekV2ForCausalLM"], hidden_size=5120, num_hidden_layers=60, num_attention_heads=128,
          q_lora_rank=1536, intermediate_size=12288, moe_intermediate_size=1536, n_routed_experts=160, n_shared_experts=2,
          num_experts_per_tok=6, first_k_dense_replace=1, n_group=8, topk_group=3, topk_method="group_limited_greedy",
          routed_scaling_factor=16.0, vocab_size=102400, rope_scaling=dict(YARN, mscale=1.0, mscale_all_dim=1.0))
LITE = dict(V2, hidden_size=2048, num_hidden_layers=27, num_attention_heads=16, q_lora_rank=None, intermediate_size=10944,
            moe_intermediate_size=1408, n_routed_experts=64, n_group=1, topk_group=1, topk_method="greedy",
            routed_scaling_factor=1.0)
V3 = dict(LATENT, architectures=["DeepseekV3ForCausalLM"], hidden_size=7168, num_hidden_layers=61, num_attention_heads=128,
          q_lora_rank=1536, intermediate_size=18432, moe_intermediate_size=2048, n_routed_experts=256, n_shared_experts=1,
          num_experts_per_tok=8, first_k_dense_replace=3, n_group=8, topk_group=4, topk_method="noaux_tc", scoring_func="sigmoid",
          norm_topk_prob=True, routed_scaling_factor=2.5, vocab_size=129280, num_nextn_predict_layers=1,
          rope_scaling=dict(YARN, mscale=1.0, mscale_all_dim=1.0),
          quantization_config={"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]})
MOE = dict(COMMON, architectures=["DeepseekForCausalLM"], hidden_size=2048, num_hidden_layers=28, num_attention_heads=16,
           num_key_value_heads=16, intermediate_size=10944, moe_intermediate_size=1408, n_routed_experts=64, n_shared_experts=2,
           num_experts_per_tok=6, first_k_dense_replace=1, moe_layer_freq=1, scoring_func="softmax", norm_topk_prob=False,
           vocab_size=102400)


class Convert(cli.Case):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.source = self.path("checkpoint")
        os.mkdir(self.source)

    def path(self, *name):
        return os.path.join(self.folder.name, *name)

    def small(self, n_shards=1):
        write_checkpoint(self.source, SMALL, tensors_of(SMALL), n_shards, values)

    def nothing_left(self):
        self.assertEqual(os.listdir(self.folder.name), ["checkpoint"])

    def test_words(self):
        self.bad(2, "a folder and an output file", "convert")
        self.bad(2, "a folder and an output file", "convert", self.source)
        self.bad(2, "too many", "convert", "a", "b", "c")
        self.bad(1, "config.json", "convert", self.source, self.path("out.gguf"))
        self.small()
        self.bad(2, "Q4_K_M", "convert", self.source, self.path("out.gguf"), "--type", "q9")
        self.bad(2, "deepseek-llm", "convert", self.source, self.path("out.gguf"), "--pre", "word")
        self.bad(2, "itself", "convert", self.source, os.path.join(self.source, "model.safetensors"))
        self.nothing_left()

    def test_result(self):
        self.small(3)
        out = self.path("out.gguf")
        text = self.good("convert", self.source, out).out.decode()
        self.assertIn("llama, 2 layers, 264 tokens (gpt2, deepseek-v3)", text)
        model = self.good("inspect", out, "--json").json()
        self.assertEqual(model["metadata"]["general.name"]["value"], "checkpoint")
        self.assertEqual({t["type"] for t in model["tensors"]}, {"BF16", "F32"})
        self.assertEqual(model["model"]["parameters"], sum(self.count(s) for _, s in tensors_of(SMALL).values()))
        self.assertEqual(self.good("tokenize", "-m", out, "--bos", stdin=b'"the"\n').json(), [257, 256, byte_characters().index("e")])

    @staticmethod
    def count(shape):
        n = 1
        for size in shape:
            n *= size
        return n

    def test_document(self):
        self.small()
        out = self.path("out.gguf")
        document = self.good("convert", self.source, out, "--type", "q8_0", "--name", "n", "--json").json()
        self.assertEqual((document["architecture"], document["type"], document["dry_run"]), ("llama", "Q8_0", False))
        self.assertEqual(document["bytes"], os.stat(out).st_size)
        self.assertEqual(len(document["tensors"]), document["source_tensors"])
        kinds = {t["name"]: t["type"] for t in document["tensors"]}
        self.assertEqual((kinds["blk.1.ffn_up.weight"], kinds["blk.1.ffn_norm.weight"]), ("Q8_0", "F32"))
        dry = self.good("convert", self.source, "--type", "q8_0", "--name", "n", "--json", "--dry-run").json()
        self.assertEqual(dry["tensors"], document["tensors"])
        self.assertEqual(dry["bytes"], document["bytes"])

    def test_dry_run(self):
        self.small()
        text = self.good("convert", self.source, self.path("out.gguf"), "--dry-run").out.decode()
        self.assertIn("blk.1.attn_output.weight", text)
        self.assertIn("nothing was written", text)
        self.nothing_left()

    def test_vocab_only(self):
        self.small()
        os.remove(os.path.join(self.source, "model.safetensors"))
        out = self.path("out.gguf")
        self.good("convert", self.source, out, "--vocab-only")
        self.assertEqual(self.good("tokenize", "-m", out, stdin=b'"th"\n').json(), [256])
        self.assertEqual(self.good("inspect", out, "--json").json()["tensors"], [])

    def test_missing_shard(self):
        self.small(3)
        os.remove(os.path.join(self.source, "model-00002-of-000003.safetensors"))
        self.bad(1, "model-00002-of-000003.safetensors", "convert", self.source, self.path("out.gguf"))
        self.nothing_left()

    def test_left_out(self):
        """Layers that predict further tokens and relics are told, one line each, and nothing else is."""
        config = dict(SMALL, num_nextn_predict_layers=1)
        tensors = tensors_of(SMALL, further=1)
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = ("F32", [8])
        write_checkpoint(self.source, config, tensors, 1, values)
        result = self.good("convert", self.source, self.path("out.gguf"))
        lines = result.err.splitlines()
        self.assertEqual(len(lines), 2, result.err)
        self.assertIn("9 tensors of 1 layers that predict further tokens are left out", lines[0])
        self.assertIn("inv_freq", lines[1])

    def test_full_disk(self):
        """A file that cannot grow any more is an error with the cause; the old file stays, and nothing besides."""
        self.small()
        out = self.path("out.gguf")
        with open(out, "w") as f:
            f.write("old")

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        done = subprocess.run([cli.BIN, "convert", self.source, out], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=cli.environment(), timeout=300, check=False, preexec_fn=limit)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertIn(b"out.gguf", done.stderr)
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["checkpoint", "out.gguf"])
        with open(out) as f:
            self.assertEqual(f.read(), "old")

    def test_memory(self):
        """Memory stays that of a slice: 192 MiB of experts go through a process that never has 64."""
        config = dict(MOE, hidden_size=512, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, intermediate_size=512,
                      moe_intermediate_size=1024, vocab_size=264)
        write_checkpoint(self.source, config, tensors_of(config), 2)
        out = self.path("out.gguf")
        self.good("convert", self.source, out)
        self.assertGreater(os.stat(out).st_size, 190 << 20)
        self.check_memory(64 << 10)

    def check_memory(self, kib):
        """No call so far held more; nothing is said of a program with sanitizers, which take memory for themselves."""
        if not os.environ.get("SMT_TEST_SANITIZED"):
            self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, kib)

    def full_size(self, config, n_tensors, parameters, n_shards, **more):
        write_checkpoint(self.source, config, tensors_of(config, **more), n_shards)
        document = self.good("convert", self.source, "--json", "--dry-run").json()
        self.assertEqual(len(document["tensors"]), n_tensors)
        self.assertEqual("%.3f" % (document["parameters"] * 1e-9), parameters)
        return document

    def test_full_lite(self):
        document = self.full_size(LITE, 404, "15.706", 4)
        self.assertEqual((document["architecture"], document["type"]), ("deepseek2", "BF16"))
        shapes = {t["name"]: t["shape"] for t in document["tensors"]}
        self.assertEqual(shapes["blk.1.attn_k_b.weight"], [128, 512, 16])
        self.assertEqual(shapes["blk.26.attn_v_b.weight"], [512, 128, 16])
        self.assertEqual(shapes["blk.3.ffn_down_exps.weight"], [1408, 2048, 64])
        self.assertEqual(shapes["blk.3.ffn_up_shexp.weight"], [2048, 2816])

    def test_full_v2(self):
        self.full_size(V2, 1019, "235.741", 55)

    def test_full_v3(self):
        document = self.full_size(V3, 1086, "671.026", 163, f8=True, further=1)
        self.assertGreater(document["left_out"], 700)
        self.check_memory(256 << 10)

    def test_full_moe(self):
        self.full_size(MOE, 3 + 9 + 27 * 13, "16.376", 7)


cli.main()
