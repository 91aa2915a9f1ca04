"""What goes into text and comes out of it, on whatever Vulkan driver the environment gives: stop strings, biases, penalties,
log-probabilities, perplexity."""
import json
import math
import os
import sys
import tempfile

import cli

MOE, DENSE = cli.data("g-v2.f16.gguf"), cli.data("g-llama2.f16.gguf")
GREEDY = ["--temp", "0", "--ignore-eos"]
TEXT = "The caf\u00e9 on the hill opens at nine. It is small, and it is never full before noon; later there is no seat left."


def log_softmax(row):
    greatest = max(row)
    total = math.fsum(math.exp(x - greatest) for x in row)
    return [x - greatest - math.log(total) for x in row]


class Work(cli.Case):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as f:
            f.write(content)
        return self.path(name)

    def tokenize(self, model, text):
        return self.good("tokenize", "-m", model, "--bos", stdin=(json.dumps(text) + "\n").encode()).json()

    def logprobs(self, model, tokens):
        """The log-probabilities after each token, from the logits that `eval` writes."""
        self.good("eval", "-m", model, "--tokens", ",".join(map(str, tokens)), "--logits", self.path("logits"))
        values = cli.read_floats(self.path("logits"))
        n = len(values) // len(tokens)
        return [log_softmax(values[t * n:(t + 1) * n]) for t in range(len(tokens))]


class Run(Work):
    def document(self, model, n, *args):
        return self.good("run", "-m", model, "-p", "the", "-n", n, "--json", *args).json()

    def test_stop(self):
        whole = self.document(MOE, 24, *GREEDY)
        text = whole["text"]
        stop = text[9:13]
        self.assertGreater(len(text), 20)
        got = self.document(MOE, 24, *GREEDY, "--stop", "never in it", "--stop", stop)
        self.assertEqual((got["text"], got["stop"]), (text[:text.index(stop)], "stop"))
        self.assertLess(len(got["tokens"]), 24)
        self.assertEqual(got["tokens"], whole["tokens"][:len(got["tokens"])])
        for name in ("-r", "--reverse-prompt"):
            self.assertEqual(self.good("run", "-m", MOE, "-p", "the", "-n", 24, *GREEDY, name, stop).out.decode(), got["text"])
        almost = text[-2:] + "!!"  # begins at the end of the text, and is held back until then
        self.assertEqual(self.document(MOE, 24, *GREEDY, "--stop", almost)["text"], text)
        self.bad(2, "--stop", "run", "-m", MOE, "-p", "x", "--stop", "")

    def test_logprobs(self):
        document = self.document(DENSE, 5, *GREEDY, "--logprobs", 3)
        prompt = self.tokenize(DENSE, "the")
        rows = self.logprobs(DENSE, prompt + document["tokens"])[len(prompt) - 1:]
        self.assertEqual([entry["id"] for entry in document["logprobs"]], document["tokens"])
        for entry, row in zip(document["logprobs"], rows):
            best = sorted(range(len(row)), key=lambda i: (-row[i], i))[:3]
            self.assertEqual([other["id"] for other in entry["top"]], best)
            for other in [entry] + entry["top"]:
                self.assertAlmostEqual(other["logprob"], row[other["id"]], delta=1e-5)
        self.assertEqual("".join(entry["text"] for entry in document["logprobs"]), document["text"])
        hot = self.document(DENSE, 3, "--temp", 5, "--top-k", 0, "--top-p", 1, "--min-p", 0, "-s", 3, "--ignore-eos", "--logprobs", 0)
        rows = self.logprobs(DENSE, prompt + hot["tokens"])[len(prompt) - 1:]
        for entry, row in zip(hot["logprobs"], rows):  # the model's own, not those of the temperature
            self.assertAlmostEqual(entry["logprob"], row[entry["id"]], delta=1e-5)
            self.assertEqual(entry["top"], [])
        self.bad(2, "--json", "run", "-m", DENSE, "-p", "x", "--logprobs", 3)

    def test_biases(self):
        first = self.document(DENSE, 1, *GREEDY)["tokens"][0]
        self.assertNotEqual(self.document(DENSE, 1, *GREEDY, "--logit-bias", "%d-inf" % first)["tokens"][0], first)
        self.assertEqual(self.document(DENSE, 4, *GREEDY, "--logit-bias", "7+500", "--logit-bias=9+400.5")["tokens"], [7] * 4)
        both = self.document(DENSE, 4, *GREEDY, "--logit-bias", "7+500", "--logit-bias", "7-200", "--logit-bias", "9+400")
        self.assertEqual(both["tokens"], [9] * 4)
        metadata = self.good("inspect", "--json", DENSE).json()["metadata"]
        end = "%d+500" % metadata["tokenizer.ggml.eos_token_id"]["value"]
        ended = self.document(DENSE, 4, "--temp", 0, "--logit-bias", end)
        self.assertEqual((ended["tokens"], ended["stop"]), ([], "eos"))
        self.assertEqual(self.document(DENSE, 4, *GREEDY, "--logit-bias", end)["stop"], "length")
        for words in ("7", "7+", "+1", "7*2", "7+1x", "7+inf", "7+nan", "-7+1", "7+1e99", "99999999999+1"):
            self.bad(2, "--logit-bias", "run", "-m", DENSE, "-p", "x", "--logit-bias", words)
        self.bad(1, "token 512 of the biases", "run", "-m", DENSE, "-p", "x", "--logit-bias", "512+1", "-dev", "vk0")

    def test_penalties(self):
        def different(*args):
            return len(set(self.document(DENSE, 30, *GREEDY, *args)["tokens"]))
        self.assertLess(different(), 30)
        self.assertEqual(different("--presence-penalty", 1000), 30)
        self.assertEqual(different("--frequency-penalty", 1000), 30)
        self.assertEqual(different("--presence-penalty", 1000, "--repeat-last-n", -1), 30)
        self.assertEqual(different("--presence-penalty", 1000, "--repeat-last-n", 0), different())
        alternating = self.document(DENSE, 30, *GREEDY, "--presence-penalty", 1000, "--repeat-last-n", 1)["tokens"]
        self.assertTrue(all(a != b for a, b in zip(alternating, alternating[1:])))
        self.assertLess(len(set(alternating)), 30)
        self.assertLess(different("--presence-penalty", -1000), different())


class Perplexity(Work):
    def check(self, model, window, *args, stride=None, half=False, bos=True):
        """Against sums over the logits that `eval` gives for each window."""
        tokens = self.tokenize(model, TEXT)
        stride = stride or (window if half else window - 1)
        places, done, begin = [[] for _ in range(window)], 1, 0
        while done < len(tokens) and not (half and begin + window > len(tokens)):
            part = tokens[begin:begin + window]
            rows = self.logprobs(model, [tokens[0]] + part[1:] if bos else part)
            for place in range(1, len(part)):
                if (place > window // 2) if half else (begin + place >= done):
                    places[place].append(-rows[place - 1][part[place]])
            done, begin = begin + len(part), begin + stride
        flat = [nats for place in places for nats in place]
        got = self.good("perplexity", "-m", model, "-f", self.write("text", TEXT.encode()), "-c", window, "--json", *args).json()
        self.assertEqual(got["tokens"], len(flat))
        mean = math.fsum(flat) / len(flat)
        self.assertLess(abs(got["ppl"] / math.exp(mean) - 1), 1e-6)
        deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in flat) / (len(flat) - 1) / len(flat))
        self.assertLess(abs(got["ppl_error"] / (math.exp(mean) * deviation) - 1), 1e-6)
        self.assertEqual(got["position_tokens"], [len(place) for place in places[1:]])
        for place, ppl in zip(places[1:], got["by_position"]):
            if place:
                self.assertLess(abs(ppl / math.exp(math.fsum(place) / len(place)) - 1), 1e-6)
            else:
                self.assertIsNone(ppl)
        self.assertLess(abs(got["bits_per_byte"] - math.fsum(flat) / math.log(2) / got["bytes"]), 1e-6)
        return got, tokens

    def test_windows(self):
        got, tokens = self.check(MOE, 33)
        self.assertEqual((got["tokens"], got["bytes"]), (len(tokens) - 1, len(TEXT.encode())))
        got, tokens = self.check(DENSE, 24, "--stride", "17", stride=17)
        self.assertEqual((got["tokens"], got["bytes"]), (len(tokens) - 1, len(TEXT.encode())))

    def test_second_half(self):
        got, tokens = self.check(DENSE, 20, "--second-half", half=True)
        self.assertEqual(got["tokens"], len(tokens) // 20 * 9)

    def test_no_beginning(self):
        """A model that wants no beginning token: the first token of the text is context only."""
        with open(DENSE, "rb") as f:
            content = bytearray(f.read())
        name = b"tokenizer.ggml.add_bos_token"
        content[content.index(name) + len(name) + 4] = 0
        model = self.write("model.gguf", content)
        got, tokens = self.check(model, 48, bos=False)
        self.assertEqual(got["tokens"], len(tokens) - 1)
        first = self.good("detokenize", "-m", model, stdin=b"[%d]\n" % tokens[0]).json()
        self.assertEqual(got["bytes"], len(TEXT.encode()) - len(first.encode()))

    def test_text_and_errors(self):
        file = self.write("text", TEXT.encode())
        document = self.good("perplexity", "-m", DENSE, "-f", file, "--json").json()
        self.assertEqual(document["window"], 512)
        lines = self.good("perplexity", "-m", DENSE, "-f", "-", stdin=TEXT.encode()).out.decode().splitlines()
        self.assertIn("perplexity %.4f +/- %.4f over %d tokens" % (document["ppl"], document["ppl_error"], document["tokens"]), lines[0])
        self.assertEqual(sum(int(line.split()[-1]) for line in lines[1:]), document["tokens"])
        self.bad(2, "-f FILE", "perplexity", "-m", DENSE)
        self.bad(1, "1 tokens; 2 are needed", "perplexity", "-m", DENSE, "-f", os.devnull)
        self.bad(1, "4096 are needed", "perplexity", "-m", DENSE, "-f", file, "-c", 4096, "--second-half")
        self.bad(2, "leaves gaps", "perplexity", "-m", DENSE, "-f", file, "-c", 16, "--stride", 16)
        self.bad(2, "exclude", "perplexity", "-m", DENSE, "-f", file, "-c", 16, "--stride", 4, "--second-half")
        self.bad(2, "2 tokens", "perplexity", "-m", DENSE, "-f", file, "-c", 1)


if cli.call("devices", "--json").code != 0:
    print("no Vulkan here: skipped")
    sys.exit(cli.SKIPPED)
cli.main()
