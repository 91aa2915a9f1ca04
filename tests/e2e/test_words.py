"""The command line without Vulkan: exit statuses, messages, environment, tokenize, detokenize, inspect."""
import json
import os
import resource
import struct
import subprocess
import tempfile

import cli

BPE, SPM = cli.data("g-v2.f16.gguf"), cli.data("g-llama2.f16.gguf")
COMMANDS = ["run", "chat", "eval", "perplexity", "tokenize", "detokenize", "template", "devices", "inspect", "kernels", "quantize",
            "convert", "trace"]


def lines(values):
    return "".join(json.dumps(v) + "\n" for v in values).encode()


class Words(cli.Case):
    def test_help_and_version(self):
        for args in (["--help"], ["-h"]):
            text = self.good(*args).out.decode()
            for command in COMMANDS:
                self.assertIn("  %s " % command, text)
        for command in COMMANDS:
            self.assertIn("usage: seamount " + command, self.good(command, "--help").out.decode())
        self.assertRegex(self.good("--version").out.decode(), r"^seamount \d+\.\d+\.\d+\n$")

    def test_wrong_commands(self):
        self.bad(2, "run, chat, eval", "nonsense")
        self.bad(2, "run, chat, eval")
        self.bad(2, "--nonsense", "--nonsense")
        self.bad(2, "-nope", "-nope", "3", "run")
        self.bad(2, "too many", "inspect", BPE, BPE)
        self.bad(2, "too many", "tokenize", BPE)
        self.bad(2, "a file is needed", "inspect")

    def test_wrong_options(self):
        run = ["run", "-m", BPE, "-p", "x"]
        self.bad(2, "--bogus", *run, "--bogus")
        self.bad(2, "--bogus=1", *run, "--bogus=1")
        self.bad(2, "-n needs a value", *run, "-n")
        self.bad(2, "--temp", *run, "--temp", "warm")
        self.bad(2, "--temp", *run, "--temp", "nan")
        self.bad(2, "--temp", *run, "--temp=-1")
        self.bad(2, "--top-p", *run, "--top-p", "1.5")
        self.bad(2, "-n", *run, "-n", "1x")
        self.bad(2, "-n", *run, "-n", "-2")
        self.bad(2, "-c", *run, "-c", "99999999999999999999")
        self.bad(2, "q8_0", *run, "-ctk", "q8_0")
        self.bad(2, "neither exact nor fast", *run, "--precision", "half")
        self.bad(2, "--json", *run, "--json=1")
        self.bad(2, "--tokens", *run, "--tokens", "1")
        self.bad(2, "exclude", *run, "-f", "x")

    def test_embedded_model(self):
        """Without -m there is still a model: what is missing is the rest of the command line."""
        for command, words in (("run", "a text is needed"), ("eval", "--tokens"), ("perplexity", "a text is needed")):
            self.bad(2, words, command)
        self.assertEqual(len(self.good("tokenize", stdin=b'"def f(x):"\n').json()), 5)

    def test_eval_words(self):
        start = ["eval", "-m", BPE]
        self.bad(2, "--tokens", *start)
        self.bad(2, "exclude", *start, "--tokens", "1", "--tokens-file", "x")
        self.bad(2, '"2x"', *start, "--tokens", "1,2x,3")
        self.bad(2, '"-4"', *start, "--tokens", "1 -4")
        self.bad(2, "no numbers", *start, "--tokens", " , ")
        self.bad(2, "2 of them for 3", *start, "--tokens", "1,2,3", "--positions", "4,5")
        self.bad(2, "-c 3 is too small", *start, "--tokens", "1,2,3,4", "-c", "3")
        self.bad(2, "-c 64 is too small", *start, "--tokens", "1,2", "--positions", "63", "-c", "64")
        self.bad(1, "no-such-file", *start, "--tokens-file", "no-such-file")

    def test_bench_words(self):
        """Short names of llama-bench's, which mean other things to run."""
        for words, args in (("not a list", ("-p", "1,")), ("not a list", ("-n", "-3")), ("not a list", ("-d", "1;2")),
                            ("more than 16", ("-p", ",".join(["1"] * 17))), ("md, csv and json", ("-o", "xml")),
                            ("nothing to measure", ("-p", "0", "-n", "0")), ("-c 8", ("-p", "5", "-d", "4", "-c", "8")),
                            ("exclude", ("--json", "-o", "csv")), ("outside 1", ("-r", "0"))):
            self.bad(2, words, "bench", *args)
        self.bad(2, "not an option of this command", "run", "-p", "a", "-d", "5")
        self.assertIn(b"repetitions", self.good("bench", "--help").out)

    def test_environment(self):
        env = cli.environment(SEAMOUNT_MODEL=SPM)
        self.assertEqual(self.good("tokenize", stdin=b'"the"\n', env=env).json(), [262])
        self.assertEqual(self.good("tokenize", "--model=" + BPE, stdin=b'"the"\n', env=env).json(),
                         self.good("tokenize", "-m", BPE, stdin=b'"the"\n').json())
        env = cli.environment(SEAMOUNT_MODEL=SPM, SEAMOUNT_BOS="1")
        self.assertEqual(self.good("tokenize", stdin=b'"the"\n', env=env).json(), [1, 262])
        self.bad(2, "SEAMOUNT_BOS", "tokenize", stdin=b"", env=cli.environment(SEAMOUNT_MODEL=SPM, SEAMOUNT_BOS="maybe"))
        self.bad(2, "SEAMOUNT_SEED", "run", "-m", BPE, "-p", "x", env=cli.environment(SEAMOUNT_SEED="x"))
        self.good("inspect", BPE, env=cli.environment(SEAMOUNT_SEED="x"))  # not an option of inspect

    def test_repeated(self):
        """An option that may be repeated: the environment gives one value, the command line replaces it."""
        run = ["run", "-m", BPE, "-p", "x"]
        self.bad(2, '"5*5"', *run, "--logit-bias", "1+1", "--logit-bias", "5*5")
        self.bad(2, '"5*5"', *run, "--logit-bias", "5*5", "--logit-bias", "1+1")
        env = cli.environment(SEAMOUNT_LOGIT_BIAS="6*6")
        self.bad(2, '"6*6"', *run, env=env)
        self.bad(2, '"5*5"', *run, "--logit-bias", "5*5", env=env)

    def test_order(self):
        want = self.good("tokenize", "-m", BPE, "--bos", stdin=b'"the"\n').out
        self.assertEqual(self.good("-m", BPE, "tokenize", "--bos", stdin=b'"the"\n').out, want)
        self.assertEqual(self.good("--bos", "--model", BPE, "tokenize", stdin=b'"the"\n').out, want)
        self.assertEqual(self.good("inspect", BPE, "--json").json(), self.good("inspect", "--json", "--", BPE).json())

    def test_tokens(self):
        for model, name in ((BPE, "tokens-bpe.json"), (SPM, "tokens-spm.json")):
            with open(cli.data(name)) as f:
                cases = json.load(f)["cases"]
            questions = lines(case["text"] for case in cases)
            for key, flags in (("ids", []), ("ids_with_bos", ["--bos"]), ("ids_parse_special", ["--special"])):
                got = self.good("tokenize", "-m", model, *flags, stdin=questions).out.splitlines()
                self.assertEqual([json.loads(line) for line in got], [case[key] for case in cases], (name, key))
            back = self.good("detokenize", "-m", model, stdin=lines(case["ids"] for case in cases)).out.splitlines()
            texts = [case["text"] if model == BPE else case["text"].replace("\u2581", " ") for case in cases]  # SPM's own blank
            self.assertEqual([json.loads(line) for line in back], texts, name)

    def test_strange_text(self):
        texts = ["a\u0000b", "\U0001f600", "", "\u2028\"\\"]
        ids = self.good("tokenize", "-m", BPE, stdin=lines(texts)).out
        self.assertEqual([json.loads(line) for line in self.good("detokenize", "-m", BPE, stdin=ids).out.splitlines()], texts)
        self.assertEqual(self.good("tokenize", "-m", BPE, stdin=b"").out, b"")
        self.assertEqual(self.good("tokenize", "-m", BPE, stdin=b'"x"').out.count(b"\n"), 1)  # no newline at the end
        ids = self.good("tokenize", "-m", BPE, stdin='"\U0001f600"'.encode()).json()
        self.assertIn("\ufffd", self.good("detokenize", "-m", BPE, stdin=lines([ids[:-1]])).json())

    def test_damaged_lines(self):
        for model in (BPE, SPM):
            self.bad(1, "line 1", "tokenize", "-m", model, stdin=b"{}\n")
            self.bad(1, "line 1", "tokenize", "-m", model, stdin=b'"x\n')
            self.bad(1, "line 1", "tokenize", "-m", model, stdin=b'"\xff"\n')
            self.bad(1, "line 1", "tokenize", "-m", model, stdin=b'"x" 1\n')
            self.bad(1, "99999", "detokenize", "-m", model, stdin=b"[99999]\n")
            self.bad(1, "line 1", "detokenize", "-m", model, stdin=b"[1.5]\n")
            self.bad(1, "line 1", "detokenize", "-m", model, stdin=b"[-1]\n")
            self.bad(1, "line 1", "detokenize", "-m", model, stdin=b"[4294967297]\n")

    def test_standard_input_that_cannot_be_read(self):
        """One line says why: a folder, and a line without an end that outgrows the memory. Sanitizers take more memory for themselves."""
        def little_memory():
            resource.setrlimit(resource.RLIMIT_AS, (160 << 20, 160 << 20))
        cases = [(cli.DATA, None, b"standard input: ")]
        if not os.environ.get("SMT_TEST_SANITIZED"):
            cases.append(("/dev/zero", little_memory, b"out of memory"))
        for path, prepare, words in cases:
            source = os.open(path, os.O_RDONLY)
            done = subprocess.run([cli.BIN, "tokenize", "-m", BPE], stdin=source, capture_output=True, preexec_fn=prepare, timeout=60,
                                  env=cli.environment(), check=False)
            os.close(source)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count(b"\n")), (1, b"", 1), done.stderr)
            self.assertIn(words, done.stderr)

    def test_line_by_line(self):
        """Each answer comes before the next question."""
        with subprocess.Popen([cli.BIN, "tokenize", "-m", BPE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
            for text in ("one", "two"):
                program.stdin.write(lines([text]))
                program.stdin.flush()
                self.assertTrue(json.loads(program.stdout.readline()))
            program.stdin.close()
            self.assertEqual(program.wait(), 0)

    def test_files(self):
        self.bad(1, "no-such.gguf", "inspect", "no-such.gguf")
        self.bad(1, "", "inspect", os.path.dirname(BPE))
        with tempfile.NamedTemporaryFile(suffix=".gguf") as f:
            self.bad(1, f.name, "inspect", f.name)
            f.write(b"GGUF\3\0\0\0")
            f.flush()
            self.bad(1, f.name, "inspect", f.name)

    def test_template(self):
        talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "a"},
                {"type": "text", "text": "b"}]}, {"role": "assistant", "content": "ok"}, {"role": "user", "content": "\u00e9"}]
        want = "Be brief.\n\nUser: a\nb\n\nAssistant: okUser: \u00e9\n\nAssistant:"
        program = "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}{{ add_generation_prompt }}{{ x }}{{ tools }}"

        def template(*args, body=talk, **more):
            return self.good("template", "-m", BPE, "--messages", "-", *args, stdin=json.dumps(body).encode(), **more)

        begin, end = template("--chat-template", "{{ bos_token }} {{ eos_token }}").out.decode().split(" ")
        text = template("--chat-template", "deepseek2").out.decode()
        self.assertEqual(text, begin + want.replace("ok", "ok" + end))
        document = template("--chat-template", "deepseek2", "--json").json()
        self.assertEqual((document["template"], document["prompt"], document["stop"]), ("deepseek2", text, ["\nUser:"]))
        self.assertEqual((document["tokens"][0], document["tokens"].count(510), document["tokens"].count(511)), (510, 1, 1))
        forged = template("--chat-template", "deepseek2", "--json", body=[{"role": "user", "content": begin + end}]).json()
        self.assertEqual((forged["tokens"].count(510), forged["tokens"].count(511)), (1, 0))
        body = {"messages": talk[:1], "tools": [1], "chat_template_kwargs": {"x": "y"}, "add_generation_prompt": False}
        self.assertEqual(template("--chat-template", program, body=body).out, b"system=Be brief.;Falsey[1]")
        body = {"messages": [], "thinking": {"type": "enabled"}}
        self.assertEqual(template("--chat-template", "{{ enable_thinking }}", body=body).out, b"True")
        self.assertEqual(template("--no-generation-prompt", env=cli.environment(SEAMOUNT_CHAT_TEMPLATE=program)).out[-9:], b"FalseNone")
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as f:
            f.write("{{ messages | length }}\n")
            f.flush()
            self.assertEqual(template("--chat-template-file", f.name).out, b"4")
            self.bad(2, "exclude", "template", "-m", BPE, "--messages", "-", "--chat-template", "x", "--chat-template-file", f.name,
                     stdin=b"[]")
        self.bad(2, "--messages", "template", "-m", BPE)
        for words, stdin, args in (("no chat template", b"[]", []), ("line 1", b"[", []), ("not a JSON array", b"{}", []),
                                   ("message 0 has no role", b"[{}]", []), ("roles must alternate", b"[{\"role\":\"x\"}]",
                                                                           ["--chat-template", "llama2"]),
                                   ("not a text", b"[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]", []),
                                   ("filter \"sort\"", b"[]", ["--chat-template", "{{ x | sort }}"]),
                                   ("no name that we know", b"[]", ["--chat-template", "nonsense"])):
            self.bad(1, words, "template", "-m", BPE, "--messages", "-", *args, stdin=stdin)

    def test_inspect(self):
        document = self.good("inspect", "--json", BPE).json()
        model = document["model"]
        self.assertEqual(model["architecture"], "deepseek2")
        self.assertEqual((model["n_layers"], model["n_experts"], model["n_experts_used"]), (4, 16, 4))
        count = 0
        for tensor in document["tensors"]:
            size = 1
            for n in tensor["shape"]:
                size *= n
            count += size
        self.assertEqual(model["parameters"], count)
        self.assertLess(model["active_parameters"], model["parameters"])
        self.assertEqual(model["cache_bytes_per_token"], 4 * (64 + 16) * 2)
        metadata = document["metadata"]
        self.assertEqual(metadata["deepseek2.block_count"], {"type": "u32", "count": 1, "value": 4})
        self.assertEqual(metadata["tokenizer.ggml.tokens"]["count"], 512)
        self.assertEqual(len(metadata["tokenizer.ggml.tokens"]["first"]), 64)
        self.assertIs(metadata["tokenizer.ggml.add_bos_token"]["value"], True)
        text = self.good("inspect", BPE).out.decode()
        for word in ("active parameters", "cache bytes per token", "blk.0.attn_q_a.weight", "deepseek2.block_count = 4"):
            self.assertIn(word, text)
        for line in document["assumed"]:
            self.assertIn(line, text)

    def test_inspect_rules(self):
        """How a model rotates and routes, and what is passed over, in words and in JSON."""
        v3, llama = cli.data("t-v3.f16.gguf"), cli.data("t-llama3.f16.gguf")
        model = self.good("inspect", "--json", v3).json()["model"]
        want = {"gate": "sigmoid", "group_rule": "top2", "selection_bias": True, "weights_normalized": True, "weights_scale": 2.5,
                "rope_scaling": "yarn", "rope_factor": 40, "rope_base": 10000, "rope_divided": False, "tied": False,
                "biased": False, "n_layers": 3, "n_layers_skipped": 1, "n_tensors_skipped": 4}
        self.assertEqual({key: model[key] for key in want}, want)
        text = self.good("inspect", v3).out.decode()
        for word in ("sigmoid with a selection bias, weights normalized, times 2.5; 2 of 4 groups by their two best experts",
                     "base 10000, scaling yarn by 40", "1 behind the model's own (from 3 on, 4 tensors)",
                     "rope.scaling.yarn_beta_fast: 32"):
            self.assertIn(word, text)
        model = self.good("inspect", "--json", llama).json()["model"]
        want = {"gate": "", "group_rule": "", "rope_scaling": "linear", "rope_factor": 4, "rope_base": 500000,
                "rope_divided": True, "biased": True, "n_layers_skipped": 0}
        self.assertEqual({key: model[key] for key in want}, want)
        self.assertIn("scaling linear by 4, divided by rope_freqs.weight", self.good("inspect", llama).out.decode())
        document = self.good("inspect", "--json", cli.data("t-moe.f16.gguf")).json()
        self.assertEqual(document["model"]["architecture"], "deepseek")
        for line in ("expert_gating_func: softmax", "expert_group_count: 1", "expert_weights_norm: false"):
            self.assertIn(line, document["assumed"])

    def test_quantize(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out.gguf")
            text = self.good("quantize", SPM, out, "q8_0").out.decode()
            self.assertRegex(text, r"F16 +-> Q8_0 .* token_embd.weight")
            self.assertRegex(text, r"\d+ tensors, .* MiB -> .* MiB, \d+\.\d+ bits per weight")
            tensors = {t["name"]: t for t in self.good("inspect", out, "--json").json()["tensors"]}
            self.assertEqual(tensors["output_norm.weight"]["type"], "F32")
            document = self.good("quantize", "--json", "-t", "2", SPM, out, "Q4_K_M", "--tensor-type", "ffn_up=Q5_1", "--tensor-type",
                                 r"blk\.\d+\.attn_k=q8_0", "--output-tensor-type", "F16", "--pure").json()
            tensors = {t["name"]: t for t in document["tensors"]}
            self.assertEqual(tensors["blk.0.ffn_up.weight"]["to"], "Q5_1")
            self.assertEqual(tensors["blk.1.attn_k.weight"]["to"], "Q8_0")
            self.assertEqual(tensors["output.weight"]["to"], "F16")
            self.assertEqual(tensors["output_norm.weight"]["error"], 0)
            self.assertGreater(tensors["blk.0.ffn_up.weight"]["error"], 0)
            self.assertTrue(tensors["blk.0.attn_q.weight"]["fallback"])
            self.assertEqual(document["bytes"], sum(t["bytes"] for t in document["tensors"]))
            shapes = {t["name"]: (t["type"], t["bytes"]) for t in self.good("inspect", out, "--json").json()["tensors"]}
            self.assertEqual(shapes, {n: (t["to"], t["bytes"]) for n, t in tensors.items()})
            dry = self.good("quantize", "--dry-run", "--json", SPM, os.path.join(folder, "none.gguf"), "Q8_0").json()
            self.assertIsNone(dry["tensors"][0]["error"])
            self.bad(2, "IN OUT TYPE", "quantize", SPM, out)
            self.bad(2, 'no type or mix "Q9"', "quantize", SPM, out, "Q9")
            self.bad(2, "same file", "quantize", out, out, "Q8_0")
            self.bad(2, "PATTERN=TYPE", "quantize", SPM, out, "Q8_0", "--tensor-type", "ffn")
            self.bad(2, "already", "quantize", out, os.path.join(folder, "none.gguf"), "Q4_0")
            self.bad(1, "no-such-file", "quantize", "no-such-file", out, "Q8_0")
            self.bad(1, "importances", "quantize", SPM, out, "Q8_0", "--imatrix", SPM)
            self.assertEqual(os.listdir(folder), ["out.gguf"])

    def test_parts(self):
        """A model in two files: either name opens both, and what is missing is named."""
        def text(value):
            return struct.pack("<Q", len(value)) + value.encode()

        def part(number, tensor, extra=b"", n_extra=0):
            keys = extra + b"".join(text("split." + name) + struct.pack("<I" + form, kind, value) for name, form, kind, value in
                                    (("no", "H", 2, number), ("count", "H", 2, 2), ("tensors.count", "i", 5, 2)))
            head = struct.pack("<4sIQQ", b"GGUF", 3, 1, 3 + n_extra) + keys + text(tensor) + struct.pack("<IQIQ", 1, 8, 0, 0)
            return head + bytes(-len(head) % 32 + 32)

        with tempfile.TemporaryDirectory() as folder:
            names = [os.path.join(folder, "m-%05d-of-00002.gguf" % i) for i in (1, 2)]
            contents = [part(0, "a", text("general.name") + struct.pack("<I", 8) + text("both"), 1), part(1, "b")]
            for name, content in zip(names, contents):
                with open(name, "wb") as f:
                    f.write(content)
            for name in names:
                document = self.good("inspect", "--json", name).json()
                self.assertEqual(document["parts"], [{"file": n, "bytes": len(c)} for n, c in zip(names, contents)])
                self.assertEqual([(t["name"], t["part"]) for t in document["tensors"]], [("a", 0), ("b", 1)])
                self.assertEqual(document["metadata"]["general.name"]["value"], "both")
                lines_ = self.good("inspect", name).out.decode()
                for words in ("files: 2", names[0], names[1], "file 2"):
                    self.assertIn(words, lines_)
            os.rename(names[0], names[0] + ".part1of2")
            self.bad(1, names[0], "inspect", names[1])
            with open(names[0] + ".part1of2", "r+b") as f:
                f.truncate(50)
            self.bad(1, "join all pieces", "inspect", names[0] + ".part1of2")
        self.assertEqual(self.good("inspect", "--json", BPE).json()["parts"], [{"file": BPE, "bytes": os.path.getsize(BPE)}])

    def test_output_fails(self):
        if os.path.exists("/dev/full"):
            with open("/dev/full", "wb") as full:
                for args in (["inspect", BPE], ["inspect", "--json", BPE], ["--help"]):
                    result = cli.call(*args, stdout=full)
                    self.assertEqual(result.code, 1, args)
                    self.assertIn("stdout", result.err)
        reader, writer = os.pipe()
        os.close(reader)
        result = cli.call("tokenize", "-m", BPE, stdin=lines(["text"] * 100000), stdout=writer)
        os.close(writer)
        self.assertEqual(result.code, 1)
        self.assertIn("stdout", result.err)


cli.main()
