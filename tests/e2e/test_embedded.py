"""The model that comes with seamount (assets/): found without -m, fixed greedy text per tensor type, perplexity as its trainer measured it,
no idle expert, holes filled with balanced brackets.

What is expected stands in tests/data/embedded.json. After a change of the model, `test_embedded.py SEAMOUNT DATA_FOLDER --record` writes it
anew, the trainer's figure excepted, which tools/train/evaluate.py gives.
"""
import json
import os
import sys
import tempfile

import cli

MODEL = os.path.join(os.path.dirname(cli.DATA), os.pardir, "assets", "seamount-coder.gguf")
SAMPLE = cli.data("sample_code.txt")  # Python code that was not in the training text
EXPECTED = cli.data("embedded.json")
PROMPTS = ["def ", "for i in range(", "class Point:\n    def __init__(self"]
TYPES = ["Q8_0", "Q6_K", "Q4_K_M"]
N_EXPERTS, N_FILL = 32, 24


def expected():
    with open(EXPECTED) as f:
        return json.load(f)


def greedy(case, prompt, n, *options):
    return case.good("run", "-p", prompt, "-n", n, "--temp", 0, "--json", *options).json()


def net_brackets(text):
    """Opened minus closed brackets of each kind; None where one closes that was not open."""
    pairs, stack = {")": "(", "]": "[", "}": "{"}, []
    for c in text:
        if c in "([{":
            stack.append(c)
        elif c in pairs and (not stack or stack.pop() != pairs[c]):
            return None
    return len(stack)


def holes():
    """(prefix, the line so far, suffix): each hole goes from behind the first bracket of a line to its end, where the line closes it."""
    with open(SAMPLE) as f:
        lines = f.read().split("\n")
    found = [i for i, line in enumerate(lines) if 12 < i < len(lines) - 8 and "(" in line[:60] and "'" not in line and '"' not in line
             and net_brackets(line) == 0 and len(line) < 90]
    for i in found[::max(1, len(found) // N_FILL)][:N_FILL]:
        cut = lines[i].index("(") + 1
        yield "\n".join(lines[i - 10:i] + [lines[i][:cut]]), lines[i][:cut], "\n" + "\n".join(lines[i + 1:i + 7])


def balanced_share(case):
    """Of the holes: those whose line comes out with every bracket closed, by its end."""
    good = cases = 0
    for prefix, line, suffix in holes():
        answer = greedy(case, prefix, 48, "--suffix", suffix)
        whole = line + answer["text"]
        good += answer["stop"] == "eos" and net_brackets(whole) == 0
        cases += 1
    return good, cases
# What GPUs compute with takes Mesa's software driver minutes to compile for vectors of 512 bits.
NARROW = cli.environment(LP_NATIVE_VECTOR_WIDTH="256")


class Embedded(cli.Case):
    def test_found_without_a_name(self):
        here = os.getcwd()
        with tempfile.TemporaryDirectory() as elsewhere:
            self.addCleanup(os.chdir, here)
            os.chdir(elsewhere)
            for prompt, want in expected()["greedy"]["as shipped"].items():
                self.assertEqual(greedy(self, prompt, 24)["text"], want)
            os.chdir(here)

    def test_width_of_vectors(self):
        """Mesa's software driver keeps one cache for vectors of 256 and 512 bits; the other width must find nothing wrong in it."""
        prompt, want = next(iter(expected()["greedy"]["as shipped"].items()))
        for more in ({}, {"LP_NATIVE_VECTOR_WIDTH": "256"}):
            answer = self.good("run", "-p", prompt, "-n", 24, "--temp", 0, env=cli.environment(**more))
            self.assertEqual(answer.out.decode(), want)

    def test_greedy_text_of_each_type(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in TYPES:
                path = os.path.join(folder, name + ".gguf")
                self.good("quantize", MODEL, path, name, "--allow-requantize")
                for prompt, want in expected()["greedy"][name].items():
                    self.assertEqual(greedy(self, prompt, 24, "-m", path)["text"], want, name)

    def test_perplexity_is_the_trainers(self):
        got = self.good("perplexity", "-f", SAMPLE, "-c", 512, "-ctk", "f32", "--json").json()
        want = expected()["trainer"]
        self.assertEqual(got["tokens"], want["tokens"])
        self.assertLess(abs(got["ppl"] / want["perplexity"] - 1), 0.01)

    def test_perplexity_of_fast_precision(self):
        """Within half a percent of exact, which the kernels of processors compute here and those of GPUs there. The whole text takes minutes."""
        with open(SAMPLE, "rb") as f:
            text = f.read()[:2500]
        exact, fast = (self.good("perplexity", "-f", "-", "-c", 512, "--precision", p, "--json", stdin=text, env=NARROW).json()
                       for p in ("exact", "fast"))
        self.assertEqual(fast["tokens"], exact["tokens"])
        self.assertNotEqual(fast["ppl"], exact["ppl"])
        self.assertLess(abs(fast["ppl"] / exact["ppl"] - 1), 0.005)

    def test_bench_says_which_precision(self):
        for precision in ("exact", "fast"):
            rows = self.good("bench", "-p", 0, "-n", 2, "-r", 1, "--precision", precision, "--no-coopmat", "-o", "json", env=NARROW).json()
            self.assertEqual([row["precision"] for row in rows], [precision])

    def test_every_expert_is_used(self):
        with open(SAMPLE) as f:
            text = json.dumps(f.read()).encode()
        ids = self.good("tokenize", "--bos", stdin=text + b"\n").json()
        with tempfile.TemporaryDirectory() as folder:
            routing = os.path.join(folder, "routing.json")
            self.good("eval", "--tokens", ",".join(map(str, ids[:800])), "--routing", routing)
            with open(routing) as f:
                layers = json.load(f)
        self.assertEqual([layer["layer"] for layer in layers], [1, 2, 3, 4])
        for layer in layers:
            self.assertEqual({e for experts in layer["experts"] for e in experts}, set(range(N_EXPERTS)), layer["layer"])

    def test_fills_holes(self):
        good, cases = balanced_share(self)
        want = expected()["fill"]
        self.assertEqual(cases, want["cases"])
        self.assertGreaterEqual(good, want["balanced"])

    def test_expert_use(self):
        result = self.good("run", "-p", "def ", "-n", 8, "--temp", 0, "--expert-use", "--json")
        use, n = result.json()["expert_use"], len(result.json()["tokens"])
        self.assertEqual(len(use), N_EXPERTS)
        # every evaluated token chooses 6 experts in each of 4 layers; the last answer token is not evaluated
        self.assertEqual(sum(use), (result.json()["prompt_tokens"] + n - 1) * 6 * 4)
        self.assertIn("experts: ", result.err)
        dense = self.good("run", "-m", cli.data("g-llama2.f16.gguf"), "-p", "a", "-n", 2, "--temp", 0, "--expert-use", "--json")
        self.assertEqual(dense.json()["expert_use"], [])
        self.assertIn("this model is dense", dense.err)


def record():
    case = Embedded()
    want = expected() if os.path.exists(EXPECTED) else {}
    want["greedy"] = {"as shipped": {p: greedy(case, p, 24)["text"] for p in PROMPTS}}
    with tempfile.TemporaryDirectory() as folder:
        for name in TYPES:
            path = os.path.join(folder, name + ".gguf")
            case.good("quantize", MODEL, path, name, "--allow-requantize")
            want["greedy"][name] = {p: greedy(case, p, 24, "-m", path)["text"] for p in PROMPTS}
    good, cases = balanced_share(case)
    want["fill"] = {"balanced": good, "cases": cases}
    with open(EXPECTED, "w") as f:
        json.dump(want, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    if "--record" in sys.argv:
        record()
    else:
        cli.main()
