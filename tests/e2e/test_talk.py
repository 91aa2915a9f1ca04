"""What goes into text and comes out of it, on whatever Vulkan driver the environment gives: stop strings, biases, penalties,
log-probabilities, perplexity, chat."""
import fcntl
import json
import math
import os
import pty
import select
import subprocess
import sys
import tempfile
import termios
import time
import unittest

import cli

MOE, DENSE = cli.data("g-v2.f16.gguf"), cli.data("g-llama2.f16.gguf")
TRAINED = os.path.join(os.environ.get("SEAMOUNT_SHARED", ""), "models", "stories260K.gguf")
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

    @unittest.skipUnless(os.path.exists(TRAINED), "SEAMOUNT_SHARED has no models/stories260K.gguf")
    def test_stop_in_a_story(self):
        document = self.good("run", "-m", TRAINED, "-p", "Once upon a time", "--temp", 0, "--json", "--stop", "park. One").json()
        self.assertEqual(document["text"], ", there was a little girl named Lily. She loved to play outside in the ")
        self.assertEqual(document["stop"], "stop")

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

    def test_grammar(self):
        """Random weights, and the trained model that comes with the program: what comes out is what the grammar or the schema allows."""
        hot = ["--temp", 2, "--top-k", 0, "--top-p", 1, "--min-p", 0]
        for seed in (1, 2):
            got = self.document(MOE, 40, *hot, "-s", seed, "--grammar", 'root ::= [a-d]{3,5} (" " [0-9]+)? "."')
            self.assertRegex(got["text"], r"\A[a-d]{3,5}( [0-9]+)?\.\Z")
            self.assertEqual(got["stop"], "eos")
        file = self.write("g.gbnf", b'root ::= "yes" | "no" # nothing else\n')
        self.assertIn(self.good("run", "-m", MOE, "-p", "x", *GREEDY, "--grammar-file", file).out, (b"yes", b"no"))
        schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "size": {"type": "integer", "minimum": 5,
                  "maximum": 300}, "kind": {"enum": ["a b", 7, None]}, "flags": {"type": "array", "items": {"type": "boolean"},
                  "minItems": 1, "maxItems": 3}}, "required": ["name", "size", "kind", "flags"]}
        for model in (["-m", MOE], []):
            for options in ([*hot, "-s", 3], ["--temp", 0]):
                text = self.good("run", *model, "-p", "x = ", "-n", 400, *options, "--json-schema", json.dumps(schema)).out.decode()
                got = json.loads(text)
                self.assertEqual(list(got), schema["required"], text)
                self.assertTrue(len(got["name"]) <= 8 and 5 <= got["size"] <= 300 and got["kind"] in ("a b", 7, None), text)
                self.assertTrue(1 <= len(got["flags"]) <= 3 and set(got["flags"]) <= {True, False}, text)
        self.bad(2, "only one of", "run", "-m", MOE, "-p", "x", "--grammar", "root ::= .", "--json-schema", "{}")
        self.bad(1, "line 1, column 10", "run", "-m", MOE, "-p", "x", "--grammar", "root ::= what")
        self.bad(1, '"not" is not supported', "run", "-m", MOE, "-p", "x", "--json-schema", '{"not": {}}')

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

    @unittest.skipUnless(os.path.exists(TRAINED), "SEAMOUNT_SHARED has no models/stories260K.gguf")
    def test_as_llama_cpp(self):
        """llama.cpp's own tool, version 0.5.0, says 2.6893 +/- 0.13974 of this text in 13 windows of 128."""
        text = ("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red "
                "ball. She wanted to play with it, but it was too high. Lily was sad and went home. Her mom said, \"Do not cry. We can "
                "find a stick.\" They went back to the park with a long stick. Lily's dog, Max, came with them and ran around the tree.")
        file = self.write("text", " ".join([text] * 12).encode())
        got = self.good("perplexity", "-m", TRAINED, "-f", file, "-c", 128, "--second-half", "-ctk", "f32", "--json").json()
        self.assertEqual(got["tokens"], 13 * 63)
        self.assertAlmostEqual(got["ppl"], 2.6893, delta=5e-4)
        self.assertAlmostEqual(got["ppl_error"], 0.13974, delta=5e-4)

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


CHAT = ["--chat-template", "deepseek2", *GREEDY]


class Chat(Work):
    """From a pipe: one message a line."""

    def talk(self, *lines, model=DENSE, args=("-n", 8)):
        return self.good("chat", "-m", model, *CHAT, *args, "-v", stdin="".join(line + "\n" for line in lines).encode())

    def saved(self, name="saved"):
        with open(self.path(name)) as f:
            return json.load(f)

    def test_turns(self):
        """The answers are those of `run` to the same words, also where most of the prompt is still in the cache."""
        result = self.talk("the first", "/save " + self.path("saved"), "and more", "/save " + self.path("later"))
        first, later = self.saved(), self.saved("later")
        self.assertEqual([m["role"] for m in later], ["user", "assistant"] * 2)
        self.assertEqual([m["content"] for m in later[::2]], ["the first", "and more"])
        self.assertEqual(later[:2], first)
        self.assertEqual(result.out.decode(), "%s\n%s\n" % (later[1]["content"], later[3]["content"]))
        prompt = "User: the first\n\nAssistant:"
        whole = self.good("run", "-m", DENSE, "-p", prompt, "-n", 8, *GREEDY).out.decode()
        self.assertEqual(later[1]["content"], whole.lstrip(" "))
        prompt += " %s</s>User: and more\n\nAssistant:" % later[1]["content"]
        whole = self.good("run", "-m", DENSE, "-p", prompt, "-n", 8, "--special", *GREEDY).out.decode()
        self.assertEqual(later[3]["content"], whole.lstrip(" "))
        cached = [int(line.split(" tokens, ")[1].split()[0]) for line in result.err.splitlines() if "from the cache" in line]
        self.assertEqual(cached[0], 0)
        self.assertGreater(cached[1], 10)

    def test_files(self):
        turns = ["/system Be brief.", "the \u20ac first", "/save " + self.path("saved")]
        self.talk(*turns)
        self.assertEqual([m["role"] for m in self.saved()], ["system", "user", "assistant"])
        self.assertEqual(self.saved()[0]["content"], "Be brief.")
        again = self.talk("/load " + self.path("saved"), "more", "/save " + self.path("loaded"))
        straight = self.talk("the \u20ac first", "more", "/save " + self.path("straight"), args=("-n", 8, "--system", "Be brief."))
        self.assertEqual(self.saved("loaded"), self.saved("straight"))
        self.assertEqual(again.out.splitlines()[-1:], straight.out.splitlines()[-1:])
        self.talk("/load " + self.path("saved"), "/reset", "/save " + self.path("reset"), "/system", "/save " + self.path("none"))
        self.assertEqual(self.saved("reset"), self.saved()[:1])
        self.assertEqual(self.saved("none"), [])
        with open(self.path("object"), "w") as f:
            json.dump({"messages": self.saved()}, f)
        self.talk("/load " + self.path("object"), "/save " + self.path("copy"))
        self.assertEqual(self.saved("copy"), self.saved())
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["copy", "loaded", "none", "object", "reset", "saved", "straight"])
        for content, words in ((b"[1]", "message 0 has no role"), (b'[{"role":"user","content":"x"},{"role":"user","content":1}]', "message 1"),
                               (b"{}", "not a JSON array"), (b"[", "line 1")):
            self.bad(1, words, "chat", "-m", DENSE, *CHAT, stdin=b"/load %s\n" % self.write("bad", content).encode())
        for line, words in (("/load", "/load FILE"), ("/save", "/save FILE"), ("/load no-such-file", "no-such-file"),
                            ("/save no-such-folder/x", "no-such-folder/x"), ("/bogus x", "/bogus (")):
            self.bad(1, words, "chat", "-m", DENSE, *CHAT, stdin=line.encode())

    def test_thoughts(self):
        """They stand between their marks, or dim on a terminal, and beside the answer in what is kept; the template leaves them out."""
        grammar = ["--grammar", 'root ::= "<think>It\\nis 4.</think>Four."', "-n", 60]
        result = self.talk("2 + 2", "again", "/save " + self.path("saved"), args=[*grammar, "--stop", "is"])
        self.assertEqual(result.out.decode(), "<think>\nIt\nis 4.\n</think>\n\nFour.\n" * 2)
        self.assertEqual(self.saved()[1], {"role": "assistant", "content": "Four.", "reasoning_content": "It\nis 4."})
        second = "User: 2 + 2\n\nAssistant: Four.</s>User: again\n\nAssistant:"
        tokens = self.good("tokenize", "-m", DENSE, "--bos", "--special", stdin=json.dumps(second).encode()).json()
        self.assertIn("[prompt: %d tokens" % len(tokens), result.err)
        self.assertEqual(self.talk("x", args=[*grammar[:3], 8]).out.decode()[:8], "<think>\n")  # cut: nothing behind it
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        self.assertEqual(cli.call("chat", "-m", DENSE, *CHAT, *grammar, stdin=b"x\n", stdout=slave).code, 0)
        os.close(slave)
        self.assertEqual(os.read(master, 200).decode(), "\033[2mIt\r\nis 4.\033[0m\r\n\r\nFour.\r\n")

    def test_prompts_that_begin_thoughts(self):
        chat = ["chat", "-m", DENSE, "--chat-template", "{{ messages[0].content }}{% if thinking %}{{ '<think>' }}{% endif %}"]
        out = self.good(*chat, *GREEDY, "-n", 4, "--chat-template-kwargs", '{"enable_thinking": true}', stdin=b"x\n").out.decode()
        self.assertRegex(out, r"\A<think>\n\S")
        self.assertNotIn("</think>", out)
        for words in ("thinking", "[]", '{"a": 1, "a": 2}'):
            self.bad(2, "--chat-template-kwargs", *chat, "--chat-template-kwargs", words, stdin=b"x\n")

    def test_lines(self):
        self.talk("one\\", "two\\", "", "//three", "", "/save " + self.path("saved"), "/exit", "not any more")
        self.assertEqual([m["content"] for m in self.saved()[::2]], ["one\ntwo\n", "/three"])
        self.talk("/system a\\", "b", "/save " + self.path("saved"), "last\\")
        self.assertEqual(self.saved()[0]["content"], "a\nb")

    def test_context(self):
        """Old turns leave the prompt, not the conversation; a message that cannot fit is an error with its size."""
        lines = ["message number %d" % i for i in range(6)]
        result = self.talk("/system Short.", *lines, "/save " + self.path("saved"), args=("-n", 8, "-c", 96))
        self.assertIn("notice: the context of 96 tokens is full", result.err)
        self.assertEqual([m["content"] for m in self.saved()[1::2]], lines)
        self.assertEqual(len(result.out.decode().split("\n")) > 6, True)
        self.bad(1, "the context holds 96", "chat", "-m", DENSE, *CHAT, "-c", 96, stdin=b"word " * 100 + b"\n")

    def test_refusals(self):
        self.bad(1, "template", "chat", "-m", DENSE, stdin=b"x\n")
        self.bad(1, "no-such-template", "chat", "-m", DENSE, "--chat-template", "no-such-template", stdin=b"x\n")
        self.bad(1, "UTF-8", "chat", "-m", DENSE, *CHAT, stdin=b"\xff\n")
        self.bad(2, "--stop", "chat", "-m", DENSE, *CHAT, "--stop", "")
        self.assertEqual(self.good("chat", "-m", DENSE, *CHAT, stdin=b"").out, b"")


class Terminal(Work):
    """Somebody types: stdin and stderr are a terminal, answers go to a pipe."""

    def setUp(self):
        super().setUp()
        self.master, slave = pty.openpty()
        reader, writer = os.pipe()
        self.addCleanup(os.close, self.master)
        self.addCleanup(os.close, reader)
        env = cli.environment(XDG_STATE_HOME=self.path("state"), TERM="xterm", LC_ALL="C.UTF-8")
        self.program = subprocess.Popen([cli.BIN, "chat", "-m", DENSE, *CHAT, "-c", "4096"], stdin=slave, stdout=writer, stderr=slave,
                                        env=env, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.addCleanup(self.program.wait)
        self.addCleanup(self.program.kill)
        os.close(slave)
        os.close(writer)
        self.shown, self.answers, self.reader = b"", b"", reader

    def wait_for(self, ready, what):
        end = time.monotonic() + 120
        while not ready():
            self.assertLess(time.monotonic(), end, "waiting for %s; shown: %r; answers: %r" % (what, self.shown, self.answers))
            for source in select.select([self.master, self.reader], [], [], 1)[0]:
                try:
                    got = os.read(source, 4096)
                except OSError:  # the terminal is gone
                    got = b""
                if source == self.master:
                    self.shown += got
                else:
                    self.answers += got
                if not got and self.program.poll() is not None:
                    return

    def expect(self, words):
        """Waits until the terminal shows the words, and forgets what it has shown up to there."""
        self.wait_for(lambda: words in self.shown, words)
        self.assertIn(words, self.shown)
        self.shown = self.shown[self.shown.index(words) + len(words):]

    def type(self, text):
        os.write(self.master, text.encode())

    def interrupted_answer(self, keys):
        before = len(self.answers)
        self.wait_for(lambda: len(self.answers) > before + 3, "an answer")
        self.type(keys)
        self.expect(b"stopped]")

    def messages(self, name):
        with open(self.path(name)) as f:
            return json.load(f)

    def test_typing(self):
        self.expect(b"/help")
        self.expect(b"> ")
        self.type("h\u00e4llo\r")
        self.interrupted_answer("\x03")
        self.expect(b"> ")
        self.type("two\\\r")
        self.expect(b"... ")
        self.type("lin\u20acs\x7f\x7f\u20acs\r")  # the end of the word deleted and typed again
        self.interrupted_answer("\x03\x03")  # the second may come while the answer stops, or at the prompt
        self.type("/save %s\r" % self.path("saved"))
        self.expect(b"[saved]")
        saved = self.messages("saved")
        self.assertEqual([m["content"] for m in saved[::2]], ["h\u00e4llo", "two\nlin\u20acs"])
        self.assertEqual(self.answers.replace(b"\0", b"").decode(), "".join(m["content"] + "\n" for m in saved[1::2]))
        self.type("/reset\r")
        self.expect(b"[a new conversation]")
        self.type("/save %s\r" % self.path("empty"))
        self.expect(b"[saved]")
        self.assertEqual(self.messages("empty"), [])
        self.type("/load %s\r" % self.path("saved"))
        self.expect(b"[4 messages]")
        self.type("/bogus\r")
        self.expect(b"no command /bogus")  # and the chat goes on
        self.type("/save %s\r" % self.path("again"))
        self.expect(b"[saved]")
        self.assertEqual(self.messages("again"), saved)
        self.expect(b"> ")  # before it, the terminal would deal with the key
        self.type("half a line\x03")
        self.expect(b"Ctrl-C again")
        self.expect(b"> ")
        self.type("\x03")
        self.assertEqual(self.program.wait(60), 0)
        with open(self.path("state/seamount/chat_history")) as f:
            history = f.read()
        self.assertIn("/reset", history)
        self.assertNotIn("half", history)

    def test_end(self):
        self.expect(b"> ")
        self.type("\x04")
        self.assertEqual(self.program.wait(60), 0)


if cli.call("devices", "--json").code != 0:
    print("no Vulkan here: skipped")
    sys.exit(cli.SKIPPED)
cli.main()
