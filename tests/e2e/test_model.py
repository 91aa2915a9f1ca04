"""The commands that compute, on whatever Vulkan driver the environment gives: eval against the golden files, run, devices, kernels."""
import csv
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

import cli

MOE, DENSE = cli.data("g-v2.f16.gguf"), cli.data("g-llama2.f16.gguf")
GREEDY = ["--temp", "0", "--ignore-eos"]
TIMINGS = {"load_s", "first_token_s", "prefill_tok_s", "decode_tok_s"}


def read(path):
    with open(path) as f:
        return json.load(f)


class Eval(cli.Case):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def evaluate(self, golden, model, sequence, *extra):
        tokens, positions = golden[sequence + "/tokens"], golden[sequence + "/positions"]
        with open(self.path("tokens"), "w") as f:
            f.write(",".join(map(str, tokens)))
        even = all(b - a == 1 for a, b in zip(positions, positions[1:]))
        return self.good("eval", "-m", model, "--tokens-file", self.path("tokens"),
                         "--positions", positions[0] if even else ",".join(map(str, positions)),
                         "--logits", self.path("logits"), "--routing", self.path("routing"), *extra)

    def check_logits(self, golden, sequence, limit):
        got, want, at = cli.read_floats(self.path("logits")), golden[sequence + "/logits"], golden[sequence + "/logits_at"]
        n_vocab = golden.shape(sequence + "/logits")[1]
        self.assertEqual(len(got), len(golden[sequence + "/tokens"]) * n_vocab)
        worst = max(abs(got[t * n_vocab + i] - want[p * n_vocab + i]) for p, t in enumerate(at) for i in range(n_vocab))
        self.assertLess(worst, limit, sequence)

    def check_routing(self, golden, sequence):
        rows = read(self.path("routing"))
        self.assertEqual([row["layer"] for row in rows], golden.index["moe_layers"])
        if not rows:
            return
        at = golden[sequence + "/route_at"]
        ids, weights, margins = (golden[sequence + "/route_" + x] for x in ("ids", "weights", "margin"))
        used = golden.shape(sequence + "/route_ids")[2]
        for m, row in enumerate(rows):
            self.assertEqual(len(row["experts"]), len(golden[sequence + "/tokens"]))
            for p, t in enumerate(at):
                first = (m * len(at) + p) * used
                if margins[m * len(at) + p] < 1e-3:
                    continue
                want = dict(zip(ids[first:first + used], weights[first:first + used]))
                got = dict(zip(row["experts"][t], row["weights"][t]))
                self.assertEqual(set(got), set(want), (sequence, row["layer"], t))
                for expert, weight in want.items():
                    self.assertLess(abs(got[expert] - weight), 1e-3 * abs(weight) + 1e-5, (sequence, row["layer"], t))

    def test_golden_moe(self):
        golden = cli.Golden("g-v2")
        for sequence, limit in (("one", 5e-4), ("s37", 5e-4), ("gap", 3e-3), ("off5000", 3e-3)):
            self.evaluate(golden, MOE, sequence, "-ctk", "f32")
            self.check_logits(golden, sequence, limit)
            self.check_routing(golden, sequence)

    def test_golden_dense(self):
        golden = cli.Golden("g-llama2")
        for sequence in ("one", "s37"):
            self.evaluate(golden, DENSE, sequence, "-ctk", "f32")
            self.check_logits(golden, sequence, 5e-4)
            self.assertEqual(read(self.path("routing")), [])

    def test_half_cache(self):
        golden = cli.Golden("g-llama2")
        self.evaluate(golden, DENSE, "s37")
        self.check_logits(golden, "s37", 5e-2)
        got = cli.read_floats(self.path("logits"))
        self.evaluate(golden, DENSE, "s37", "-ctk", "f32")
        self.assertNotEqual(got, cli.read_floats(self.path("logits")))

    def test_hidden(self):
        golden = cli.Golden("g-v2")
        self.evaluate(golden, MOE, "s37", "-ctk", "f32", "--hidden", self.path("hidden"))
        got, want, at = cli.read_floats(self.path("hidden")), golden["s37/hidden"], golden["s37/hidden_at"]
        n_at, n_rows, n_embd = golden.shape("s37/hidden")
        n_tokens = len(golden["s37/tokens"])
        self.assertEqual(len(got), n_rows * n_tokens * n_embd)
        for q, t in enumerate(at):
            for row in range(n_rows):
                for i in range(n_embd):
                    difference = got[(row * n_tokens + t) * n_embd + i] - want[(q * n_rows + row) * n_embd + i]
                    self.assertLess(abs(difference), 1e-3, (t, row, i))
        self.assertEqual(n_at, len(at))

    def test_refusals(self):
        self.bad(1, "512", "eval", "-m", DENSE, "--tokens", "1,512")
        self.bad(1, "no-such-folder", "eval", "-m", DENSE, "--tokens", "1", "--logits", "no-such-folder/x")
        self.bad(2, "no-such-device", "eval", "-m", DENSE, "--tokens", "1", "-dev", "no-such-device")
        self.bad(2, "empty", "eval", "-m", DENSE, "--tokens", "1", "-dev", "vk0,")
        self.bad(1, "no-such.gguf", "eval", "-m", "no-such.gguf", "--tokens", "1", "-dev", "vk0")


class Run(cli.Case):
    def test_two_devices(self):
        """A device named twice is two, and what they write together is what one writes."""
        one = self.good("run", "-m", MOE, "-p", "the", "-n", "12", "--json", "-dev", "vk0", *GREEDY).json()
        two = self.good("run", "-m", MOE, "-p", "the", "-n", "12", "--json", "-dev", "vk0,vk0", "-ts", "1,1", *GREEDY).json()
        self.assertEqual(two["tokens"], one["tokens"])
        self.assertEqual(two["device"], 2 * one["device"])
        (test,) = self.good("bench", "-m", MOE, "-p", "0", "-n", "2", "-r", "1", "--json", "-dev", "vk0,vk0").json()
        self.assertEqual(test["device"], ", ".join(two["device"]))
        self.assertGreater(test["profile"]["hop_ms"], 0)
        self.assertEqual(test["profile"]["submissions"], 2)
        self.bad(2, "3 shares of layers for 2 devices", "run", "-m", MOE, "-p", "the", "-dev", "vk0,vk0", "-ts", "1,2,3")
        self.bad(2, "-dev", "run", "-m", MOE, "-p", "the", "-ts", "1,2")
        self.bad(2, "such as 3,1", "run", "-m", MOE, "-p", "the", "-dev", "vk0,vk0", "-ts", "1,x")

    def test_document(self):
        document = self.good("run", "-m", MOE, "-p", "the", "-n", "12", "--json", *GREEDY).json()
        self.assertEqual(set(document), {"prompt_tokens", "tokens", "text", "stop", "timings", "device"})
        self.assertEqual(set(document["timings"]), TIMINGS)
        self.assertEqual(document["stop"], "length")
        self.assertEqual(len(document["tokens"]), 12)
        prompt = self.good("tokenize", "-m", MOE, "--bos", stdin=b'"the"\n').json()
        self.assertEqual(document["prompt_tokens"], len(prompt))
        self.assertTrue(document["device"] and all(isinstance(name, str) for name in document["device"]))
        for value in document["timings"].values():
            self.assertGreater(value, 0)
        # Each token is the likeliest after those before it, and the text says what the tokens say.
        for k in (0, 5, 11):
            tokens = ",".join(map(str, prompt + document["tokens"][:k]))
            self.assertEqual(self.good("eval", "-m", MOE, "--tokens", tokens, "--json").json()["next"], document["tokens"][k])
        streamed = self.good("run", "-m", MOE, "-p", "the", "-n", "12", *GREEDY).out
        self.assertEqual(streamed.decode(), document["text"])
        whole = self.good("detokenize", "-m", MOE, stdin=(json.dumps(prompt + document["tokens"]) + "\n").encode()).json()
        self.assertEqual(whole, "the" + document["text"])

    def test_trained_model(self):
        """A real trained model tells the story that llama.cpp's CPU backend tells, id by id as text."""
        model = os.path.join(os.environ.get("SEAMOUNT_SHARED", ""), "models", "stories260K.gguf")
        if not os.path.exists(model):
            self.skipTest("SEAMOUNT_SHARED has no models/stories260K.gguf")
        story = (", there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. "
                 "She wanted to play with it, but it was too high.\nLily")
        for cache in ("f32", "f16"):
            out = self.good("run", "-m", model, "-p", "Once upon a time", "-n", "60", "--temp", "0", "-ctk", cache).out
            self.assertEqual(out.decode(), story)

    def test_suffix(self):
        self.bad(1, "fim begin", "run", "-m", MOE, "-p", "a", "--suffix", "b", "-n", "1")
        self.bad(2, "--special", "run", "-m", MOE, "-p", "a", "--suffix", "b", "--special")

    def test_seeds(self):
        def tokens(*args):
            return self.good("run", "-m", DENSE, "-p", "a", "-n", "16", "--json", "--ignore-eos", *args).json()["tokens"]
        self.assertEqual(tokens("-s", "1"), tokens("--seed=1", "-c", "100"))
        self.assertNotEqual(tokens("-s", "1"), tokens("-s", "2"))
        self.assertEqual(tokens("-s", "1", "--top-k", "1"), tokens("--temp", "0"))

    def test_repeat_penalty(self):
        def tokens(*args):
            return self.good("run", "-m", DENSE, "-p", "a", "-n", "40", "--json", *GREEDY, *args).json()["tokens"]
        self.assertLess(len(set(tokens())), 40)
        self.assertEqual(len(set(tokens("--repeat-penalty", "1000"))), 40)

    def test_lengths(self):
        self.assertEqual(self.good("run", "-m", DENSE, "-p", "a", "-n", "0").out, b"")
        document = self.good("run", "-m", DENSE, "-p", "a", "-n", "-1", "-c", "64", "--json", *GREEDY).json()
        self.assertEqual(document["stop"], "length")
        self.assertIn(document["prompt_tokens"] + len(document["tokens"]), (64, 65))
        self.bad(1, "", "run", "-m", DENSE, "-p", "word " * 200, "-c", "64", *GREEDY)

    def test_standard_input(self):
        want = self.good("run", "-m", DENSE, "-p", "the text", "-n", "4", *GREEDY).out
        self.assertEqual(self.good("run", "-m", DENSE, "-f", "-", "-n", "4", *GREEDY, stdin=b"the text").out, want)
        with tempfile.NamedTemporaryFile() as f:
            f.write(b"the text")
            f.flush()
            self.assertEqual(self.good("run", "-m", DENSE, "-f", f.name, "-n", "4", *GREEDY).out, want)

    def test_interrupt(self):
        command = [cli.BIN, "run", "-m", DENSE, "-p", "a", "-n", "-1", "-c", "4096", *GREEDY]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.environment()) as program:
            self.assertTrue(program.stdout.read(1))
            program.send_signal(signal.SIGINT)
            _, err = program.communicate(timeout=60)
            self.assertEqual(program.returncode, 1)
            self.assertIn(b"interrupted", err)

    def start_compiling(self, folder):
        """eval without compiled kernels, up to the moment when the first of them is there."""
        command = [cli.BIN, "eval", "-m", MOE, "--tokens", "1,2,3", "--cache-dir", folder]
        env = cli.environment(MESA_SHADER_CACHE_DISABLE="true")
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        self.addCleanup(program.stdout.close)
        self.addCleanup(program.stderr.close)
        self.addCleanup(program.kill)
        for _ in range(6000):
            if any(name.startswith("spirv-") for name in os.listdir(folder)):
                return program
            time.sleep(0.01)
        self.fail("no kernel in the cache")

    def test_interrupt_while_compiling(self):
        with tempfile.TemporaryDirectory() as folder:
            program = self.start_compiling(folder)
            program.send_signal(signal.SIGINT)
            out, err = program.communicate(timeout=60)
            self.assertEqual((program.returncode, out), (1, b""))
            (line,) = [line for line in err.splitlines() if not line.startswith(b"notice: ")]
            self.assertIn(b"interrupted: ", line)
            self.assertIn(b"cancelled", line)

    @cli.in_full_tier
    def test_progress_lines(self):
        """Where stderr is no terminal, long work says a line after five seconds; the clock goes on while the program stands."""
        command = [cli.BIN, "kernels", "--all", "-dev", "vk0", "--cache-dir", ""]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=cli.environment()) as program:
            line = ""
            for _ in range(5):
                time.sleep(1)
                program.send_signal(signal.SIGSTOP)
                time.sleep(5.5)
                program.send_signal(signal.SIGCONT)
                if select.select([program.stderr], [], [], 2)[0]:
                    line = program.stderr.readline().decode()
                    break
            program.send_signal(signal.SIGINT)
            self.assertRegex(line, r"^notice: compiling: \d+ %, \d+ of \d+ kernels\n$")
            err = program.stderr.read()
            self.assertEqual(program.wait(timeout=60), 1)
            self.assertIn(b"interrupted: cancelled after", err)

    def test_bar(self):
        """On a terminal: a bar for loading and one for compiling, and nothing of them in the end."""
        with tempfile.TemporaryDirectory() as folder:
            terminal, inner = pty.openpty()
            with subprocess.Popen([cli.BIN, "eval", "-m", MOE, "--tokens", "1", "--cache-dir", folder], stderr=inner,
                                  stdout=subprocess.DEVNULL, env=cli.environment()) as program:
                os.close(inner)
                seen = b""
                try:
                    while chunk := os.read(terminal, 4096):
                        seen += chunk
                except OSError:  # the other end is closed
                    pass
                os.close(terminal)
            self.assertEqual(program.returncode, 0)
            self.assertRegex(seen, rb"loading   \[#*\.*\] +\d+ %  \d\.\d\d of \d\.\d\d MB")
            self.assertRegex(seen, rb"compiling \[#*\.*\] +\d+ %  \d+ of \d+ kernels")
            self.assertTrue(seen.endswith(b"\r\x1b[K"), seen[-100:])

    def test_closed_pipe(self):
        command = [cli.BIN, "run", "-m", DENSE, "-p", "a", "-n", "-1", "-c", "4096", *GREEDY]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.environment()) as program:
            self.assertTrue(program.stdout.read(1))
            program.stdout.close()
            err = program.stderr.read()
            self.assertEqual(program.wait(timeout=60), 1)
            self.assertIn(b"stdout", err)


class Bench(cli.Case):
    NUMBERS = ("tok_s", "tok_s_spread", "bytes_per_token", "gb_s", "bandwidth_share", "dispatches_per_token", "submissions_per_token",
               "warmup_s", "load_s")

    def test_document(self):
        """Every prompt length and every -n at every depth; the figures hang together."""
        tests = self.good("bench", "-m", MOE, "-p", "4,9", "-n", "3", "-d", "0,5", "-r", "2", "-o", "json").json()
        self.assertEqual([t["test"] for t in tests], ["pp4", "pp9", "tg3", "pp4 @ d5", "pp9 @ d5", "tg3 @ d5"])
        model = self.good("inspect", MOE, "--json").json()["model"]
        for t in tests:
            for name in self.NUMBERS:
                self.assertGreaterEqual(t[name], 0, name)
            low, high = sorted(t["samples"])
            self.assertGreater(low, 0)
            self.assertAlmostEqual(t["tok_s"], (low + high) / 2, delta=1e-6 * high)
            self.assertAlmostEqual(t["tok_s_spread"], high - low, delta=1e-6 * high)
            self.assertAlmostEqual(t["gb_s"], t["tok_s"] * t["bytes_per_token"] / 1e9, delta=1e-6 * t["gb_s"])
            self.assertAlmostEqual(t["bandwidth_share"], t["gb_s"] / t["read_gb_s"], delta=1e-6 * t["bandwidth_share"])
            self.assertEqual((t["precision"], t["cache_type"]), ("exact", "f16"))
            self.assertTrue(t["driver"] and t["model"] and t["device"])
            self.assertEqual(len(t["profile"]["layer_ms"]), model["n_layers"])
        # a token is drawn on the device, by two kernels behind those of the step
        self.assertEqual(tests[2]["dispatches_per_token"], tests[2]["profile"]["dispatches"] + 2)
        (host,) = self.good("bench", "-m", MOE, "-p", "0", "-n", "3", "-r", "1", "--draw-on-host", "--json").json()
        self.assertEqual(host["dispatches_per_token"], host["profile"]["dispatches"])
        self.assertGreaterEqual(host["submissions_per_token"], 1)
        self.assertGreater(tests[5]["bytes_per_token"], tests[2]["bytes_per_token"])  # the cache is read
        self.assertLess(tests[1]["bytes_per_token"], tests[2]["bytes_per_token"])  # tokens of a prompt share weights

    def test_forms(self):
        fast = ["-m", DENSE, "-n", "2", "-r", "1", "-ctk", "f32"]
        table = self.good("bench", *fast, "-p", "0").out.decode()
        self.assertRegex(table, r"(?m)^\| tg2 \| \d+\.\d\d \|")
        self.assertNotIn("pp", table)
        head, line = self.good("bench", *fast, "-p", "3", "-n", "0", "-o", "csv").out.decode().splitlines()
        row = dict(zip(head.split(","), next(csv.reader([line]))))
        self.assertEqual((row["test"], row["cache_type"], row["moe_layer_ms"]), ("pp3", "f32", ""))
        self.assertGreater(float(row["tok_s"]), 0)
        (test,) = self.good("bench", *fast, "-p", "0", "--json").json()
        self.assertEqual(test["test"], "tg2")

    def test_refusals(self):
        self.bad(1, "no-such", "bench", "-m", "/no-such.gguf", "-p", "1", "-n", "0")
        self.bad(1, "cache blocks", "bench", "-m", MOE, "-p", "0", "-n", "1", "-c", "2000000000")


class Devices(cli.Case):
    def test_list(self):
        devices = self.good("devices", "--json").json()
        text = self.good("devices").out.decode()
        for number, device in enumerate(devices):
            self.assertEqual(device["id"], "vk%d" % number)
            self.assertEqual(len(device["uuid"]), 32)
            self.assertIn(device["kind"], ("discrete", "integrated", "virtual", "cpu", "other"))
            self.assertTrue(device["heaps"] and all(heap["bytes"] > 0 for heap in device["heaps"]))
            self.assertTrue(device["usable"], device["unusable"])
            self.assertGreater(device["read_bytes_s"], 1e8)
            self.assertIn(device["name"], text)
        for word in ("vk0", devices[0]["name"], devices[0]["uuid"]):
            self.assertEqual(self.good("devices", "--json", "-dev", word).json()[0]["name"], devices[0]["name"])
        self.bad(2, "no-such-device", "devices", "-dev", "no-such-device")

    def test_vector_width(self):
        """Mesa's software driver gets the widest vectors of the processor, unless the user has said how wide."""
        def bits(**variables):
            found = re.search(r"(\d+) bits", self.good("devices", "--json", env={**free, **variables}).json()[0]["name"])
            return found and int(found[1])
        free = {name: value for name, value in cli.environment().items() if name != "LP_NATIVE_VECTOR_WIDTH"}
        if bits() is None:
            self.skipTest("not Mesa's software driver")
        with open("/proc/cpuinfo") as f:
            wide = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(f.read().split())
        self.assertEqual(bits(LP_NATIVE_VECTOR_WIDTH="128"), 128)
        self.assertEqual(bits() == 512, wide)

    def test_kernels(self):
        """Each compiles and gives right results."""
        rows = self.good("kernels", "-m", MOE, "-dev", "vk0", "--self-test", "--json").json()
        keys = {"kernel", "variant", "compile_ms", "vgprs", "spills", "lds", "occupancy", "inverse_throughput"}
        self.assertTrue(rows)
        for row in rows:
            self.assertEqual(set(row), keys)
            self.assertGreater(row["compile_ms"], 0)

    @cli.in_full_tier
    def test_all_kernels(self):
        devices = self.good("devices", "--json", "-dev", "vk0").json()
        if "SwiftShader" in devices[0]["name"]:
            self.skipTest("SwiftShader takes many minutes for the whole catalogue")
        some, every = (self.good("kernels", *args, "--json").json() for args in (["-m", MOE], ["--all"]))
        self.assertGreater(len(every), len(some))

    def test_validation(self):
        result = self.good("run", "-m", MOE, "-p", "the", "-n", "3", "--validation", *GREEDY)
        self.assertEqual([line for line in result.err.splitlines() if not line.startswith("notice: ")], [])

    def test_minimum(self):
        """The plainest device gives the same tokens."""
        args = ["run", "-m", MOE, "-p", "the", "-n", "6", "--json", *GREEDY]
        self.assertEqual(self.good(*args, "--minimum").json()["tokens"], self.good(*args).json()["tokens"])

    def test_families(self):
        """Both families of matrix kernels, by option and by the environment, and no third."""
        args = ["run", "-m", MOE, "-p", "the", "-n", "6", "--json", *GREEDY]
        want = self.good(*args, "--kernels", "rows").json()["tokens"]
        self.assertEqual(self.good(*args, "--kernels", "wave").json()["tokens"], want)
        names = [row["variant"] for row in self.good("kernels", "-m", MOE, "--kernels", "wave", "--json").json()]
        self.assertTrue(any(" wave" in name for name in names))
        self.bad(2, "neither rows nor wave", *args, "--kernels", "waves")


if cli.call("devices", "--json").code != 0:
    print("no Vulkan here: skipped")
    sys.exit(cli.SKIPPED)
cli.main()
