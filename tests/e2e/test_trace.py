"""`seamount trace`: what is refused, what a report says of a known file, and recordings against what eval says of the same tokens."""
import json
import os
import tempfile

import cli

SMALL = cli.data("small.trace")  # 40 tokens, layers 1 and 2 with 8 experts, 2 used, all as likely: see make_trace.c
MOE, DENSE = cli.data("g-v2.f16.gguf"), cli.data("g-llama2.f16.gguf")


class Words(cli.Case):
    def test_refusals(self):
        self.bad(2, "record or trace report", "trace")
        self.bad(2, "record or trace report", "trace", "nonsense")
        self.bad(2, "a file is needed", "trace", "report")
        self.bad(2, "too many", "trace", "report", SMALL, SMALL)
        self.bad(2, "-o OUT", "trace", "record", "-p", "x")
        self.bad(2, "too many", "trace", "record", SMALL, "-p", "x", "-o", "y")
        self.bad(2, "a text is needed", "trace", "record", "-o", "x")
        self.bad(1, "no-such.trace", "trace", "report", "no-such.trace")
        self.bad(1, "not a routing trace", "trace", "report", MOE)

    def test_report(self):
        text = self.good("trace", "report", SMALL).out.decode()
        for words in ("invented, 3 layers, 2 of them with 8 experts, 2 used, from 2 of 2 groups", "tokens: 40 in 1.90 s", "no skew",
                      "only 40 tokens"):
            self.assertIn(words, text)
        document = self.good("trace", "report", SMALL, "--json").json()
        self.assertEqual((document["tokens"], document["dropped"], document["lost"], document["damage"]), (40, 0, 0, None))
        self.assertEqual((document["skew"], document["skewed_layers"], document["devices"]), (False, 0, ["Invented GPU A"]))
        self.assertEqual([layer["layer"] for layer in document["layers"]], [1, 2])
        for layer in document["layers"]:
            self.assertEqual((sum(layer["counts"]), layer["entropy_even"], len(layer["lru"])), (80, 3, 9))
            self.assertTrue(2.5 < layer["entropy"] <= 3 and not layer["skewed"])
            for curve in (layer["lru"], layer["static"]):
                self.assertEqual((curve[0], curve[8]), (0, 1))  # every expert was used in the first half
                self.assertEqual(curve, sorted(curve))
        caches = document["caches"]
        self.assertEqual([c["experts"] for c in caches], [1, 1, 2, 3, 4, 6])
        self.assertEqual(caches[2]["even"], 0.25)
        self.assertEqual(caches[2]["bytes"], 2 * 2 * 2**20)
        mean = sum(layer["lru"][2] for layer in document["layers"]) / 2
        self.assertAlmostEqual(caches[2]["lru"], mean, 6)

    def test_cut_file(self):
        with open(SMALL, "rb") as f:
            whole = f.read()
        with tempfile.NamedTemporaryFile(suffix=".trace") as f:
            f.write(whole[:-1])  # all tokens, no end
            f.flush()
            result = self.good("trace", "report", f.name, "--json")
            self.assertEqual((result.json()["tokens"], result.json()["damage"]), (40, "cut off after 40 tokens"))
            self.assertIn("notice: the trace is cut off after 40 tokens", result.err)
            f.truncate(len(whole) - 100)
            self.assertEqual(self.good("trace", "report", f.name, "--json").json()["tokens"], 0)
            f.truncate(40)
            self.bad(1, "does not begin with a model", "trace", "report", f.name)


class Record(cli.Case):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def record(self, *args):
        return self.good("trace", "record", *args, "-o", self.path("trace"), "--json").json()

    def report(self):
        return self.good("trace", "report", self.path("trace"), "--json").json()

    def check(self, model, prompt, n):
        """The recorded counts and weights are those of eval over the same tokens."""
        document = self.record(*model, "-p", prompt, "-n", n, "--temp", 0, "--ignore-eos")
        tokens = self.good("tokenize", *model, "--bos", stdin=json.dumps(prompt).encode()).json()
        self.assertEqual((document["recorded"], document["prompt_tokens"]), (len(tokens) + n - 1, len(tokens)))
        tokens += document["tokens"][:-1]  # the last one is not evaluated
        self.good("eval", *model, "--tokens", ",".join(map(str, tokens)), "--routing", self.path("routing"))
        with open(self.path("routing")) as f:
            routing = json.load(f)
        report = self.report()
        self.assertEqual((report["tokens"], report["dropped"], report["damage"]), (len(tokens), 0, None))
        self.assertEqual([layer["layer"] for layer in report["layers"]], [layer["layer"] for layer in routing])
        for got, want in zip(report["layers"], routing):
            for expert in range(report["n_experts"]):
                chosen = [weight for ids, weights in zip(want["experts"], want["weights"])
                          for e, weight in zip(ids, weights) if e == expert]
                self.assertEqual(got["counts"][expert], len(chosen))
                self.assertAlmostEqual(got["weights"][expert], sum(chosen), delta=1e-3 * (1 + sum(chosen)))
        return report

    def test_golden_model(self):
        self.check(["-m", MOE], "the quick brown fox", 8)

    def test_embedded_model(self):
        """Trained on one kind of text, its experts are used unevenly, and the report says so."""
        report = self.check([], "def main(", 60)
        self.assertEqual((report["skew"], report["n_experts"], len(report["layers"])), (True, 32, 4))
        quarter = report["caches"][2]
        self.assertEqual((quarter["experts"], quarter["even"]), (8, 0.25))
        self.assertGreater(quarter["static"], 0.35)
        self.assertGreater(quarter["lru"], 0.35)

    def test_profile(self):
        """With a trace, a plan keeps the experts that were chosen most; a run with that plan writes the same text."""
        self.record("-p", "def main(", "-n", 24, "--temp", 0, "-c", 512)
        counts = {layer["layer"]: layer["counts"] for layer in self.report()["layers"]}
        machine = ["-c", 512, "--machine", cli.data("machines/8+64-host.json"), "--json"]
        whole = self.good("plan", *machine).json()["devices"][0]["heaps"][0]["planned"]
        tight = ["--budget", "vk0:0=%d" % (whole - 6000000), "--budget", "vk0:2=0"]
        plan = self.good("plan", *machine, *tight, "--profile", self.path("trace")).json()
        used = {"vk0": [], "host": []}
        for item in plan["items"]:
            if "expert" in item:
                used[item["device"]].append(counts[item["layer"]][item["expert"]])
        self.assertTrue(used["host"] and used["vk0"])
        self.assertLessEqual(max(used["host"]), min(used["vk0"]))
        self.assertIsNone(plan["predicted"]["slots"])
        slots = self.good("plan", *machine, "-ncmoe", 99, "--expert-cache", "1M", "--profile", self.path("trace")).json()["predicted"]["slots"]
        used = self.report()["n_experts_used"] * len(counts)
        self.assertLessEqual(slots["hits_per_token"] + slots["misses_per_token"], used)  # of a step's tokens each expert counts once
        self.assertGreater(slots["hits_per_token"] + slots["misses_per_token"], used / 2)
        self.assertGreater(min(slots.values()), 0)
        blind = self.good("plan", *machine, *tight).json()
        self.assertGreater(plan["predicted"]["decode_tok_s"], 0)
        self.assertNotEqual(plan["items"], blind["items"])
        text = ["run", "-p", "def main(", "-n", 24, "--temp", 0, "-c", 512]
        self.assertEqual(self.good(*text, "--budget", "vk0:0=19M", "--profile", self.path("trace")).out, self.good(*text).out)

    def test_dense_model(self):
        self.record("-m", DENSE, "-p", "a", "-n", 3, "--temp", 0, "--ignore-eos")
        self.assertEqual((self.report()["layers"], self.report()["caches"]), ([], []))
        self.assertIn("this model is dense", self.good("trace", "report", self.path("trace")).out.decode())

    def test_text_on_stdout(self):
        result = self.good("trace", "record", "-m", MOE, "-p", "the", "-n", 4, "--temp", 0, "--ignore-eos", "-o", self.path("trace"))
        self.assertEqual(result.out, self.good("run", "-m", MOE, "-p", "the", "-n", 4, "--temp", 0, "--ignore-eos").out)
        self.assertRegex(result.err, r"trace: \d+ tokens, \d+ of them the prompt's")
        self.bad(1, "not a regular file", "trace", "record", "-m", MOE, "-p", "the", "-o", self.folder.name)


if __name__ == "__main__":
    cli.main()
