"""`seamount serve` with the model that comes with seamount: every route, streams against documents, several clients at once, clients
that go away, and everything that a client can get wrong."""
import base64
import concurrent.futures
import json
import math
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import cli
from server import MODEL, Server, until

CTX, SLOTS = 256, 3
GREEDY = {"temperature": 0}
PROMPTS = ["def ", "for i in range(", "class Point:\n    def __init__(self", "import os\n", "    return ", "# A list of", "x = [", "while "]
CHAT = [{"role": "user", "content": "Write a loop."}]


SHARED = {}


def setUpModule():
    """One server with default limits for most of the tests; what it says before it is ready is kept. Small batches: each size of a step
    compiles kernels of its own."""
    if "VK_ICD_FILENAMES" not in cli.environment() and not cli.call("devices", "--json").json():
        raise unittest.SkipTest("no Vulkan device")
    server = Server("-c", CTX, "-np", SLOTS, "-b", 64, "--chat-template", "deepseek2", "-n", 12, wait=False)
    SHARED["early"] = [server.get("/health"), server.get("/v1/models")]
    SHARED["server"] = server.wait()


def tearDownModule():
    server = SHARED["server"]
    code, err = server.end(signal.SIGINT)
    server.__exit__()
    assert code == 0, err
    assert "VUID" not in err and "ERROR" not in err, err


def greedy(prompt, n=12, **more):
    return dict(GREEDY, prompt=prompt, max_tokens=n, **more)


def long_prompt(n):
    """About n tokens."""
    return "".join("value_%d = compute(%d)\n" % (i, i) for i in range(n // 14))


def joined(events):
    """The text, the finish reason, and all events but [DONE] of a stream of one choice."""
    chunks = [e for e in events if e != "[DONE]" and e["choices"]]
    texts = [c["choices"][0].get("text", c["choices"][0].get("delta", {}).get("content")) for c in chunks]
    return "".join(t or "" for t in texts), chunks[-1]["choices"][0]["finish_reason"], chunks


class Shared(cli.Case):
    """Tests that one server with default limits serves."""

    @property
    def server(self):
        return SHARED["server"]

    def get(self, path, **more):
        answer = self.server.get(path, **more)
        self.assertEqual(answer.code, 200, answer.body)
        return answer

    def post(self, path, body, **more):
        answer = self.server.post(path, body, **more)
        self.assertEqual(answer.code, 200, answer.body)
        return answer.json()

    def stream(self, path, body):
        answer = self.server.post(path, dict(body, stream=True))
        self.assertEqual(answer.code, 200, answer.body)
        self.assertEqual(answer.headers["Content-Type"], "text/event-stream")
        return answer.events()

    def refused(self, code, words, path, body, **more):
        answer = self.server.post(path, body, **more)
        self.assertEqual(answer.code, code, answer.body)
        error = answer.json()["error"]
        self.assertEqual(error["code"], code)
        self.assertIn(words, error["message"])
        return error

    def text(self, prompt, n=12, **more):
        return self.post("/v1/completions", greedy(prompt, n, **more))["choices"][0]["text"]


class Info(Shared):
    def test_not_ready_at_first(self):
        for answer in SHARED["early"]:
            self.assertEqual((answer.code, answer.json()["error"]["type"]), (503, "unavailable_error"))

    def test_what_it_says_of_itself(self):
        self.assertEqual(self.get("/health").json(), {"status": "ok"})
        model = self.get("/v1/models").json()["data"][0]
        self.assertEqual((model["id"], model["object"], model["meta"]["n_vocab"]), ("seamount-coder", "model", 3072))
        self.assertEqual(model["meta"]["vocab_type"], 2)
        self.assertEqual(self.get("/v1/models/seamount%2Dcoder").json(), model)
        props = self.get("/props").json()
        self.assertEqual((props["total_slots"], props["default_generation_settings"]["n_ctx"]), (SLOTS, CTX))
        self.assertEqual(props["default_generation_settings"]["params"]["temperature"], 0.8)
        self.assertIn("begin", props["bos_token"])
        self.assertIn("end", props["eos_token"])
        self.assertEqual(props["chat_template"], "deepseek2")
        self.assertEqual(props["chat_template_caps"], {"supports_tools": False, "supports_tool_calls": False})
        slots = self.get("/slots").json()
        self.assertEqual([s["id"] for s in slots], list(range(SLOTS)))
        self.assertEqual(len(self.get("/slots?fail_on_no_slot=1").json()), SLOTS)

    def test_metrics_count(self):
        before = self.server.metric("tokens_predicted_total")
        self.text("def ", 5)
        self.assertEqual(self.server.metric("tokens_predicted_total"), before + 5)
        for line in self.get("/metrics").body.decode().splitlines():
            self.assertRegex(line, r"^(# (HELP|TYPE) seamount:\w+ .+|seamount:\w+ [-+.e0-9]+)$")

    def test_paths_and_methods(self):
        for method, path, code in [("GET", "/nothing", 404), ("GET", "/%00", 404), ("GET", "/v1/models/", 404), ("GET", "/v1/models/other", 404),
                                    ("POST", "/", 405), ("POST", "/health", 405), ("GET", "/v1/completions", 405),
                                   ("DELETE", "/slots", 405), ("OPTIONS", "/v1/models", 405)]:
            answer = self.server.call(method, path)
            self.assertEqual((answer.code, answer.json()["error"]["code"]), (code, code), (method, path))
        answer = self.get("/health")
        self.assertIsNone(answer.headers["Access-Control-Allow-Origin"])
        self.assertEqual(self.server.call("HEAD", "/health").body, b"")

    def test_pages_of_others_may_not_call(self):
        own = "http://%s:%d" % (self.server.host, self.server.port)
        for origin, code in [("https://example.org", 403), ("null", 403), (own + "0", 403), (own, 200)]:
            self.assertEqual(self.server.get("/health", headers={"Origin": origin}).code, code, origin)

    def test_any_key_is_taken(self):
        self.get("/v1/models", headers={"Authorization": "Bearer whatever"})


class Tokens(Shared):
    def test_tokens_as_the_command_line_has_them(self):
        text = "def größe(x):\n\treturn '\u4f60' <\uff5cend\u2581of\u2581sentence\uff5c>"
        expected = [self.good("tokenize", "-m", MODEL, *options, stdin=json.dumps(text).encode()).json() for options in (["--special"], [])]
        for special, ids in zip((True, False), expected):
            self.assertEqual(self.post("/tokenize", {"content": text, "parse_special": special})["tokens"], ids)
        self.assertEqual(self.post("/detokenize", {"tokens": expected[1]})["content"], text)
        pieces = self.post("/tokenize", {"content": text, "parse_special": False, "add_special": True, "with_pieces": True})["tokens"]
        self.assertEqual([p["id"] for p in pieces][1:], expected[1])
        as_bytes = b"".join(p["piece"].encode() if isinstance(p["piece"], str) else bytes(p["piece"]) for p in pieces)
        self.assertEqual(as_bytes.decode(), text)

    def test_template(self):
        prompt = self.post("/apply-template", {"messages": CHAT})["prompt"]
        self.assertTrue(prompt.endswith("User: Write a loop.\n\nAssistant:"), prompt)
        parts = [{"role": "user", "content": [{"type": "text", "text": "Write a"}, {"type": "text", "text": "loop."}]}]
        self.assertEqual(self.post("/apply-template", {"messages": parts})["prompt"], prompt.replace("a loop", "a\nloop"))
        developer = [{"role": "developer", "content": "Be brief."}] + CHAT
        self.assertIn("Be brief.", self.post("/apply-template", {"messages": developer})["prompt"])

    def test_wrong(self):
        self.refused(400, "content", "/tokenize", {})
        self.refused(400, "entry 1", "/detokenize", {"tokens": [1, 3072]})
        self.refused(400, "not a list", "/detokenize", {"tokens": 5})
        self.refused(400, "array", "/apply-template", {"messages": "x"})
        self.refused(400, "role", "/apply-template", {"messages": [{"content": "x"}]})
        self.refused(400, "not a text", "/apply-template", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})


class Texts(Shared):
    def test_the_same_as_run(self):
        for prompt in PROMPTS[:2]:
            run = self.good("run", "-m", MODEL, "-p", prompt, "-n", 12, "--temp", 0, "--json").json()
            native = self.post("/completion", dict(GREEDY, prompt=prompt, n_predict=12, return_tokens=True))
            self.assertEqual((native["content"], native["tokens"]), (run["text"], run["tokens"]))
            self.assertEqual((native["stop"], native["stop_type"], native["tokens_predicted"]), (True, "limit", 12))
            self.assertEqual(self.text(prompt), run["text"])
            ids = self.post("/tokenize", {"content": prompt, "add_special": True})["tokens"]
            self.assertEqual(self.text(ids), run["text"])
            rest = self.post("/detokenize", {"tokens": ids[2:]})["content"]
            self.assertEqual(self.text(ids[:2] + [rest]), run["text"])
        run = self.good("run", "-m", MODEL, "-p", "def add(a, b):\n    return ", "--suffix", "\n\nprint(add(1, 2))\n", "-n", 8, "--temp", 0,
                        "--json").json()
        self.assertEqual(self.text("def add(a, b):\n    return ", 8, suffix="\n\nprint(add(1, 2))\n"), run["text"])

    def test_streams_say_what_documents_say(self):
        body = greedy("for i in range(", 10)
        document = self.post("/v1/completions", body)
        text, reason, chunks = joined(self.stream("/v1/completions", body))
        self.assertEqual((text, reason), (document["choices"][0]["text"], document["choices"][0]["finish_reason"]))
        self.assertTrue(all(c["object"] == "text_completion" and "usage" not in c for c in chunks))
        native = self.post("/completion", dict(GREEDY, prompt="for i in range(", n_predict=10))
        events = self.stream("/completion", dict(GREEDY, prompt="for i in range(", n_predict=10))
        self.assertEqual("".join(e["content"] for e in events), native["content"])
        self.assertEqual([e["stop"] for e in events], [False] * (len(events) - 1) + [True])
        self.assertEqual(events[-1]["stop_type"], "limit")
        counts = [e["tokens_predicted"] for e in events]
        self.assertEqual((counts, counts[-1]), (sorted(counts), 10))

    def test_chat_stream(self):
        body = dict(GREEDY, messages=CHAT, max_completion_tokens=10)
        document = self.post("/v1/chat/completions", body)
        message = document["choices"][0]["message"]
        self.assertEqual((document["object"], message["role"]), ("chat.completion", "assistant"))
        self.assertFalse(message["content"].startswith(" "))
        events = self.stream("/v1/chat/completions", dict(body, stream_options={"include_usage": True}))
        self.assertEqual(events[-1], "[DONE]")
        text, reason, chunks = joined(events)
        self.assertEqual((text, reason), (message["content"], document["choices"][0]["finish_reason"]))
        self.assertEqual(chunks[0]["choices"][0]["delta"], {"role": "assistant", "content": ""})
        self.assertTrue(all("role" not in c["choices"][0]["delta"] for c in chunks[1:]))
        self.assertTrue(all(c["choices"][0]["finish_reason"] is None for c in chunks[:-1]))
        self.assertEqual(chunks[-1]["choices"][0]["delta"], {})
        self.assertTrue(all(c["usage"] is None and c["id"] == chunks[0]["id"] for c in chunks))
        usage = events[-2]
        self.assertEqual(usage["choices"], [])
        self.assertEqual({k: usage["usage"][k] for k in ("prompt_tokens", "completion_tokens", "total_tokens")},
                         {k: document["usage"][k] for k in ("prompt_tokens", "completion_tokens", "total_tokens")})

    def test_many_texts(self):
        several = self.post("/v1/completions", greedy(PROMPTS[:4], 6))
        self.assertEqual([c["text"] for c in several["choices"]], [self.text(p, 6) for p in PROMPTS[:4]])
        self.assertEqual([c["index"] for c in several["choices"]], [0, 1, 2, 3])
        native = self.post("/completion", dict(GREEDY, prompt=PROMPTS[:2], n_predict=6))
        self.assertEqual([d["content"] for d in native], [c["text"] for c in several["choices"][:2]])
        body = {"prompt": "def ", "max_tokens": 8, "temperature": 1, "n": 3, "seed": 7}
        three = [c["text"] for c in self.post("/v1/completions", body)["choices"]]
        alone = [self.post("/v1/completions", dict(body, n=1, seed=7 + i))["choices"][0]["text"] for i in range(3)]
        self.assertEqual(three, alone)
        self.assertGreater(len(set(three)), 1)
        events = self.stream("/v1/completions", body)
        for i in range(3):
            mine = [e["choices"][0] for e in events if e != "[DONE]" and e["choices"][0]["index"] == i]
            self.assertEqual("".join(c["text"] for c in mine), three[i])
            self.assertEqual([c["finish_reason"] for c in mine], [None] * (len(mine) - 1) + ["length"])

    def test_ends(self):
        whole = self.text("for i in range(", 12)
        word = whole[4:7]
        answer = self.post("/completion", dict(GREEDY, prompt="for i in range(", n_predict=12, stop=["never", word]))
        self.assertEqual((answer["content"], answer["stop_type"], answer["stopping_word"]), (whole[:whole.index(word)], "word", word))
        events = self.stream("/v1/completions", greedy("for i in range(", 12, stop=word))
        self.assertEqual(joined(events)[:2], (whole[:whole.index(word)], "stop"))
        nothing = self.post("/completion", dict(GREEDY, prompt="for i", n_predict=0))
        self.assertEqual((nothing["content"], nothing["tokens_predicted"]), ("", 0))
        full = self.post("/completion", dict(GREEDY, prompt=long_prompt(224), n_predict=-1, ignore_eos=True))
        self.assertEqual((full["stop_type"], full["tokens_predicted"] + full["tokens_evaluated"]), ("limit", CTX + 1))
        late = self.post("/completion", dict(GREEDY, prompt="def ", n_predict=200, ignore_eos=True, t_max_predict_ms=1,
                                             logit_bias=[["\n", 100]]))
        self.assertLess(late["tokens_predicted"], 50)

    def test_sampling(self):
        base = {"prompt": "import ", "n_predict": 10, "temperature": 1.5, "seed": 11}
        texts = {self.post("/completion", base)["content"] for _ in range(2)}
        self.assertEqual(len(texts), 1)
        self.assertGreater(len({self.post("/completion", dict(base, seed=s))["content"] for s in range(4)}), 1)
        self.assertGreater(len({self.post("/completion", dict(base, seed=None))["content"] for s in range(4)}), 1)
        self.assertEqual(self.post("/completion", dict(base, top_k=1))["content"], self.text("import ", 10))
        token = self.post("/tokenize", {"content": "if"})["tokens"][0]
        for bias in ({str(token): 100}, [[token, 100]], [["if", 100]]):
            self.assertTrue(self.text("def ", 2, logit_bias=bias).startswith("ifif"), bias)
        self.assertNotIn("if", self.text("def ", 3, logit_bias={str(token): 100}, presence_penalty=200)[2:])
        draw = dict(GREEDY, prompt="def ", n_predict=1, return_tokens=True)
        first = self.post("/completion", draw)["tokens"][0]
        self.assertNotEqual(self.post("/completion", dict(draw, logit_bias=[[first, False]]))["tokens"][0], first)

    def test_logprobs(self):
        native = self.post("/completion", dict(GREEDY, prompt="for i in range(", n_predict=3, n_probs=4, return_tokens=True))
        entries = native["completion_probabilities"]
        self.assertEqual([e["id"] for e in entries], native["tokens"])
        for entry in entries:
            self.assertEqual(len(entry["top_logprobs"]), 4)
            self.assertEqual(entry["top_logprobs"][0]["id"], entry["id"])
            self.assertEqual(entry["logprob"], max(t["logprob"] for t in entry["top_logprobs"]))
            self.assertLessEqual(entry["logprob"], 0)
        table = self.post("/v1/completions", greedy("for i in range(", 3, logprobs=2))["choices"][0]["logprobs"]
        self.assertEqual(table["token_logprobs"], [e["logprob"] for e in entries])
        self.assertEqual([len(t) for t in table["top_logprobs"]], [2] * 3)
        body = dict(GREEDY, messages=CHAT, max_tokens=3, logprobs=True, top_logprobs=2)
        content = self.post("/v1/chat/completions", body)["choices"][0]["logprobs"]["content"]
        self.assertEqual([len(e["top_logprobs"]) for e in content], [2] * 3)
        chunks = joined(self.stream("/v1/chat/completions", body))[2]
        streamed = [e for c in chunks for e in (c["choices"][0]["logprobs"] or {"content": []})["content"]]
        self.assertEqual(streamed, content)


class Formats(Shared):
    """Answers that follow a schema or a grammar, in every way to ask for one."""
    SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["a", "bb"]}}, "required": ["ok", "kind"]}

    def check(self, text, reason):
        value = json.loads(text)
        self.assertEqual((sorted(value), reason), (["kind", "ok"], "stop"), text)
        self.assertIn(value["kind"], ["a", "bb"])
        self.assertIsInstance(value["ok"], bool)

    def test_schemas(self):
        named = {"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": self.SCHEMA}}
        body = dict(GREEDY, messages=CHAT, max_tokens=64, response_format=named)
        choice = self.post("/v1/chat/completions", body)["choices"][0]
        self.check(choice["message"]["content"], choice["finish_reason"])
        text, reason, _ = joined(self.stream("/v1/chat/completions", body))
        self.assertEqual((text, reason), (choice["message"]["content"], "stop"))
        for choice in self.post("/v1/completions", {"prompt": "x = ", "n": 3, "seed": 5, "temperature": 2, "top_k": 0, "max_tokens": 64,
                                                    "response_format": {"type": "json_object", "schema": self.SCHEMA}})["choices"]:
            self.check(choice["text"], choice["finish_reason"])
        answer = self.post("/completion", greedy("x = ", 64, json_schema=self.SCHEMA))
        self.check(answer["content"], {"eos": "stop"}.get(answer["stop_type"]))

    def test_any_object(self):
        text = self.text("x = ", 3, response_format={"type": "json_object"})
        self.assertTrue(text.startswith("{"), text)

    def test_grammars(self):
        answers = {self.text("x = ", 8, grammar='root ::= "yes" | "no"', temperature=3, top_k=0, seed=seed) for seed in range(12)}
        self.assertEqual(answers, {"yes", "no"})
        self.assertEqual(self.text("x = ", grammar='root ::= "12" [3-4] "5"')[::3], "15")

    def test_wrong(self):
        self.refused(400, "line 1", "/v1/completions", {"prompt": "x", "grammar": "root ::= ("})
        self.refused(400, "only one", "/v1/completions", {"prompt": "x", "grammar": 'root ::= "x"', "json_schema": self.SCHEMA})
        self.refused(400, "unevaluatedItems", "/v1/completions",
                     {"prompt": "x", "response_format": {"type": "json_object", "schema": {"type": "array", "unevaluatedItems": False}}})


class Page(Shared):
    def test_the_page(self):
        answer = self.get("/")
        self.assertEqual(answer.headers["Content-Type"], "text/html; charset=utf-8")
        self.assertIn(b"/experts", answer.body)
        self.assertIn(b"</html>", answer.body)

    def test_experts_of_an_answer(self):
        """What /experts says of the tokens of an answer is what `eval --routing` says of them."""
        connection = self.server.raw(b"GET /experts HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with connection, connection.makefile("rb") as stream:
            while stream.readline().strip():
                pass  # headers
            events = self.events(stream)
            about = next(events)
            self.assertEqual((about["layers"], about["n_experts"], about["n_used"]), ([1, 2, 3, 4], 32, 6))
            prompt = list(range(300, 311))
            answer = self.post("/completion", {"prompt": prompt, "n_predict": 4, "temperature": 0, "return_tokens": True, "cache_prompt": False})
            tokens = prompt + answer["tokens"][:-1]
            seen = [next(events) for _ in tokens]
        self.assertEqual([(e["index"], e["token"]) for e in seen], list(enumerate(tokens)))
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "routing.json")
            cli.call("eval", "-m", MODEL, "--tokens", ",".join(map(str, tokens)), "-ctk", "f16", "--routing", path)
            with open(path) as f:
                routing = json.load(f)
        for row, layer in enumerate(routing):
            self.assertEqual([e["experts"][row] for e in seen], layer["experts"])
            for event, weights in zip(seen, layer["weights"]):
                for a, b in zip(event["weights"][row], weights):
                    self.assertAlmostEqual(a, b, delta=1e-3)

    @staticmethod
    def events(stream):
        """Of a chunked response that does not end."""
        rest = b""
        while True:
            size = int(stream.readline(), 16)
            rest += stream.read(size + 2)[:size]
            *blocks, rest = rest.split(b"\n\n")
            yield from (json.loads(b[6:]) for b in blocks if b.startswith(b"data: "))


class Editors(Shared):
    BEFORE, AFTER = "def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n"

    def infill(self, **more):
        return self.post("/infill", dict(GREEDY, n_predict=8, **more))

    def test_infill_fills_the_gap(self):
        run = self.good("run", "-m", MODEL, "-p", self.BEFORE, "--suffix", self.AFTER, "-n", 8, "--temp", 0, "--json").json()
        body = {"input_suffix": self.AFTER, "samplers": ["top_k"], "t_max_prompt_ms": 500, "n_indent": 4, "cache_prompt": True}
        whole = self.infill(input_prefix=self.BEFORE, **body)
        self.assertEqual(whole["content"], run["text"])
        self.assertEqual(self.infill(input_prefix="def add(a, b):\n", prompt="    return ", **body)["content"], run["text"])
        fields = ["content", "timings/prompt_n", "tokens_cached", "no/such"]
        some = self.infill(input_prefix=self.BEFORE, response_fields=fields, **body)
        self.assertEqual(sorted(some), ["content", "timings/prompt_n", "tokens_cached"])
        self.assertEqual(some["content"], run["text"])
        warm = self.post("/infill", dict(GREEDY, input_prefix=self.BEFORE + "a", n_predict=0, **body))
        self.assertEqual((warm["content"], warm["tokens_predicted"]), ("", 0))
        self.assertGreater(self.infill(input_prefix=self.BEFORE + "a", **body)["tokens_cached"], warm["tokens_evaluated"] - 2)

    @cli.in_full_tier
    def test_infill_takes_what_fits(self):
        extra = [{"filename": "a.py", "text": "def other():\n    pass\n"}]
        some = self.infill(input_prefix=self.BEFORE, input_suffix=self.AFTER, input_extra=extra)
        none = self.infill(input_prefix=self.BEFORE, input_suffix=self.AFTER)
        as_text = self.infill(input_prefix="#a.py\ndef other():\n    pass\n\n" + self.BEFORE, input_suffix=self.AFTER)
        self.assertGreater(some["tokens_evaluated"], none["tokens_evaluated"])
        self.assertEqual((some["content"], some["tokens_evaluated"]), (as_text["content"], as_text["tokens_evaluated"]))
        crowd = [{"filename": "%d.py" % i, "text": long_prompt(240)} for i in range(3)]
        crowded = self.infill(input_prefix=self.BEFORE, input_suffix=self.AFTER, input_extra=crowd + extra)
        self.assertLessEqual(crowded["tokens_evaluated"], CTX - 8)
        self.assertGreater(crowded["tokens_evaluated"], some["tokens_evaluated"])  # one of the crowd has room
        self.assertEqual(self.infill(input_prefix=self.BEFORE, input_suffix=self.AFTER, input_extra=crowd[-1:] + extra)["content"],
                         crowded["content"])
        long = self.infill(input_prefix="\u00e4" * 1000 + self.BEFORE, input_suffix=self.AFTER + "\u00e4" * 1000)
        self.assertLessEqual(long["tokens_evaluated"], CTX - 8)
        self.refused(400, "input_extra", "/infill", {"input_extra": [{"filename": "x"}]})
        self.refused(400, "response_fields", "/infill", {"response_fields": "content"})

    def test_embeddings_are_means_of_states(self):
        texts = ["def add(a, b):", long_prompt(100)]
        answer = self.post("/v1/embeddings", {"input": texts, "model": "m"})
        for text, entry in zip(texts, answer["data"]):
            ids = self.post("/tokenize", {"content": text, "add_special": True})["tokens"]
            with tempfile.TemporaryDirectory() as folder:
                out = os.path.join(folder, "hidden")
                self.good("eval", "-m", MODEL, "--tokens", " ".join(map(str, ids)), "--hidden", out)
                states = cli.read_floats(out)[-256 * len(ids):]
            mean = [sum(states[i::256]) for i in range(256)]
            length = math.sqrt(sum(x * x for x in mean))
            for want, got in zip(mean, entry["embedding"]):
                self.assertAlmostEqual(want / length, got, places=5)
        self.assertEqual([e["index"] for e in answer["data"]], [0, 1])
        self.assertEqual(answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"])
        packed = self.post("/v1/embeddings", {"input": texts[0], "encoding_format": "base64"})["data"][0]["embedding"]
        self.assertEqual(list(struct.unpack("<256f", base64.b64decode(packed))),
                         [struct.unpack("<f", struct.pack("<f", x))[0] for x in answer["data"][0]["embedding"]])
        native = self.post("/embedding", {"content": texts})
        self.assertEqual([(e["index"], e["embedding"]) for e in native], [(e["index"], [e["embedding"]]) for e in answer["data"]])
        self.assertEqual(self.post("/embedding", {"input": texts[0], "embd_normalize": 2})[0], native[0])
        self.refused(400, "embd_normalize", "/embedding", {"content": "x", "embd_normalize": 0})
        self.refused(400, "input", "/v1/embeddings", {})
        self.refused(400, "dimensions", "/v1/embeddings", {"input": "x", "dimensions": 7})
        self.refused(400, "encoding_format", "/v1/embeddings", {"input": "x", "encoding_format": "hex"})
        self.refused(400, "maximum context length", "/v1/embeddings", {"input": long_prompt(450)})


class TwoDevices(Shared):
    @cli.in_full_tier
    def test_a_split_model_answers_the_same(self):
        """Two clients at a time, on a device that is two."""
        with Server("-c", CTX, "-np", 2, "-b", 64, "-dev", "vk0,vk0") as server:
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                answers = list(pool.map(lambda prompt: server.post("/v1/completions", greedy(prompt)), PROMPTS[:2]))
            for prompt, answer in zip(PROMPTS, answers):
                self.assertEqual(answer.code, 200, answer.body)
                self.assertEqual(answer.json()["choices"][0]["text"], self.text(prompt))


class Together(Shared):
    COUNTERS = ["prompt_tokens_total", "prompt_seconds_total", "tokens_predicted_total", "tokens_predicted_seconds_total"]

    def test_clients_at_once_get_what_they_get_alone(self):
        prompts = PROMPTS + [long_prompt(150)]
        alone = [self.text(p, 16, cache_prompt=False) for p in prompts]
        got = [None] * len(prompts)

        def ask(i):
            if i % 2:
                got[i] = joined(self.stream("/v1/completions", greedy(prompts[i], 16)))[0]
            else:
                got[i] = self.text(prompts[i], 16)
        rounds = self.server.metric("n_decode_total")
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(prompts))]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(got, alone)
        self.assertLess(self.server.metric("n_decode_total") - rounds, 16 * len(prompts))

    def test_what_a_slot_holds_is_not_evaluated_again(self):
        prompt = "def unusual_name(alpha, beta):\n    return "
        first = self.post("/completion", dict(GREEDY, prompt=prompt, n_predict=8))
        again = self.post("/completion", dict(GREEDY, prompt=prompt + first["content"], n_predict=8))
        fresh = self.post("/completion", dict(GREEDY, prompt=prompt + first["content"], n_predict=8, cache_prompt=False))
        self.assertGreaterEqual(again["tokens_cached"], first["tokens_evaluated"])
        self.assertEqual(fresh["tokens_cached"], 0)
        self.assertEqual(again["content"], fresh["content"])
        usage = self.post("/v1/completions", greedy(prompt, 1))["usage"]
        self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"] - 1)

    @cli.in_full_tier
    def test_a_slot_of_ones_own(self):
        for slot in (2, 0, -1):
            answer = self.post("/completion", dict(GREEDY, prompt="def ", n_predict=2, id_slot=slot))
            self.assertIn(answer["id_slot"], [slot] if slot >= 0 else range(SLOTS))
        self.refused(400, "id_slot", "/completion", {"prompt": "x", "id_slot": SLOTS})
        endless = dict(GREEDY, prompt="def ", n_predict=-1, stream=True, ignore_eos=True, id_slot=1)
        with self.server.raw(self.server.request_bytes("/completion", endless)) as connection:
            stream = connection.makefile("rb")
            while b"data:" not in stream.readline():
                pass
            got = []
            waiting = threading.Thread(target=lambda: got.append(self.post("/completion", dict(GREEDY, prompt="x", n_predict=1, id_slot=1))))
            waiting.start()
            self.assertTrue(until(20, lambda: self.server.metric("requests_deferred") == 1))
            self.assertNotEqual(self.post("/completion", dict(GREEDY, prompt="y", n_predict=1))["id_slot"], 1)
            self.assertEqual(got, [])
        waiting.join()
        self.assertEqual(got[0]["id_slot"], 1)

    def test_clients_that_go_away(self):
        endless = dict(GREEDY, n_predict=-1, ignore_eos=True)
        counted = [self.server.metric(name) for name in self.COUNTERS]
        for body, path in [(dict(endless, prompt="def ", stream=True), "/completion"), (dict(endless, prompt="def "), "/completion"),
                           (dict(endless, prompt=long_prompt(200), cache_prompt=False), "/v1/completions"),
                           (dict(endless, messages=CHAT, stream=True), "/v1/chat/completions")]:
            connections = [self.server.raw(self.server.request_bytes(path, body)) for _ in range(SLOTS + 2)]
            self.assertTrue(until(60, lambda: self.server.busy() > 0))
            before = self.server.metric("n_decode_total")
            [c.close() for c in connections]
            self.assertTrue(until(60, lambda: self.server.busy() == 0 and self.server.metric("requests_deferred") == 0))
            self.assertLess(self.server.metric("n_decode_total") - before, CTX / 2)
        for name, count in zip(self.COUNTERS, counted):  # what was done for them was done
            self.assertGreater(self.server.metric(name), count, name)
        self.assertEqual(len(self.text("for i in range(", 3)) > 0, True)

    @cli.in_full_tier
    def test_a_long_prompt_does_not_stop_an_answer(self):
        endless = dict(GREEDY, prompt="def ", n_predict=-1, stream=True, ignore_eos=True)
        connection = self.server.raw(self.server.request_bytes("/completion", endless))
        stream = connection.makefile("rb")
        while b"data:" not in stream.readline():
            pass
        done = threading.Event()

        def read_long():
            self.text(long_prompt(224), 1, cache_prompt=False)
            done.set()
        thread = threading.Thread(target=read_long)
        thread.start()
        meanwhile = 0
        while not done.is_set():
            meanwhile += b"data:" in stream.readline()
        thread.join()
        connection.close()
        self.assertGreaterEqual(meanwhile, 2)


class Wrong(Shared):
    def test_bodies(self):
        for words, body in [("empty", b""), ("not JSON", b"{"), ("not JSON", b'{"prompt": "\xff"}'), ("not JSON", b'{"prompt": 1}x'),
                            ("object", b"[]"), ("not JSON", b'"x"'),
                            ("nests", b'{"a":' * 70 + b"1" + b"}" * 70), ("not JSON", b'{"prompt": "a\\u0000"}'),
                            ("missing", b"{}"), ("prompt", b'{"prompt": {}}'), ("neither a text", b'{"prompt": [1, {}]}'),
                            ("vocabulary", b'{"prompt": [99999]}'), ("vocabulary", b'{"prompt": [-1]}'), ("answers", b'{"prompt": []}')]:
            error = self.refused(400, words, "/v1/completions", body)
            self.assertEqual(error["type"], "invalid_request_error")

    def test_members(self):
        for name, value in [("temperature", "hot"), ("temperature", -1), ("top_p", 2), ("max_tokens", 1.5), ("max_tokens", "9"), ("n", 0),
                            ("n", 65), ("stop", 5), ("stop", [1]), ("stream", "yes"), ("logit_bias", {"x": 1}), ("logit_bias", [[1]]),
                            ("logit_bias", {"99999": 1}), ("logprobs", -1), ("logprobs", 101), ("seed", "x"), ("top_k", 1e30),
                            ("best_of", 2), ("echo", True), ("mirostat", 2),
                            ("typical_p", 0.5), ("tools", [{"type": "function"}]), ("response_format", {"type": "json_schema"}),
                            ("response_format", {"type": "xml"}), ("json_schema", [1]), ("grammar", ["x"]), ("grammar", "root ::= x"),
                            ("suffix", 5)]:
            self.refused(400, '"%s"' % name, "/v1/completions", {"prompt": "x", name: value})
        body = {"prompt": "x", "max_tokens": 1, "user": "u", "stop": None, "tools": [], "response_format": {"type": "text"}, "n": 1,
                "logit_bias": {}, "parallel_tool_calls": True, "model": "any", "stream_options": None, "stop": [""]}
        self.post("/v1/completions", body)
        self.refused(400, "top_logprobs", "/v1/chat/completions", {"messages": CHAT, "top_logprobs": 2})
        self.refused(400, "array", "/v1/chat/completions", {})
        for name, value in [("tools", [{"type": "function"}]), ("tool_choice", "required"), ("functions", [{"name": "f"}]),
                            ("parallel_tool_calls", 1)]:
            self.refused(400, '"%s"' % name, "/v1/chat/completions", {"messages": CHAT, name: value})

    def test_too_long(self):
        for path, body in [("/v1/completions", greedy(long_prompt(450))), ("/completion", greedy([5] * (CTX + 1))),
                           ("/v1/chat/completions", {"messages": [{"role": "user", "content": long_prompt(450)}], "stream": True})]:
            error = self.refused(400, "maximum context length is %d" % CTX, path, body)
            self.assertEqual((error["n_ctx"], error["n_prompt_tokens"] > CTX), (CTX, True))
            self.assertIn(str(error["n_prompt_tokens"]), error["message"])

    def test_http(self):
        for data in [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00\x01\x02\xff" * 100, b"GET /health HTTP/1.1\r\n\r\n",
                     b"POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
                     b"POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
                     b"POST /completion HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                     b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: " + b"b" * 100000 + b"\r\n\r\n", b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                     b"GET /%00%ff%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]:
            connection = self.server.raw(b"")
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(100)
                self.assertRegex(answer, rb"^(HTTP/1\.[01] [345]|$)", data[:60])
            except OSError:
                pass  # reset: as good
            connection.close()
        self.assertEqual(self.server.get("/health").code, 200)
        chunked = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" \
                  b"8\r\n{\"conten\r\n9\r\nt\": \"def\"\r\n1\r\n}\r\n0\r\n\r\n"
        connection = self.server.raw(chunked)
        answer = connection.makefile("rb").read()
        connection.close()
        self.assertIn(b'"tokens"', answer)
        with self.server.raw(b"GET /health HTTP/1.0\r\n\r\n") as old:
            self.assertIn(b"200 OK", old.makefile("rb").readline())


class Limits(cli.Case):
    def test_limits_and_keys(self):
        with Server("-c", 256, "-np", 1, "-b", 64, "--api-key", "first", "--api-key", "second key", "--timeout", 2, "--max-body", 2000, "--max-depth", 4,
                    "--max-connections", 4, "--cors", "https://example.org", "--alias", "name", "--no-slots", "--no-metrics") as server:
            keys = {"Authorization": "Bearer first"}, {"Authorization": "bearer second key"}, {"X-Api-Key": "first"}
            for headers in keys:
                self.assertEqual(server.get("/v1/models", headers=headers).json()["data"][0]["id"], "name")
            for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer firs"}, {"Authorization": "Bearer firstfirst"},
                            {"Authorization": "first"}, {"X-Api-Key": "second"}):
                answer = server.get("/v1/models", headers=headers)
                self.assertEqual((answer.code, answer.json()["error"]["type"]), (401, "authentication_error"), headers)
            answer = server.post("/completion", {"prompt": "x" * 5000})
            self.assertEqual(answer.code, 401)
            self.assertEqual(server.get("/health").headers["Access-Control-Allow-Origin"], "https://example.org")
            preflight = server.call("OPTIONS", "/v1/chat/completions", headers={"Origin": "https://example.org"})
            self.assertEqual((preflight.code, "Authorization" in preflight.headers["Access-Control-Allow-Headers"]), (204, True))
            wanted = {"Origin": "https://example.org", "Access-Control-Request-Headers": "authorization,x-stainless-os"}
            preflight = server.call("OPTIONS", "/v1/chat/completions", headers=wanted)
            self.assertEqual((preflight.code, preflight.headers["Access-Control-Allow-Headers"]), (204, "authorization,x-stainless-os"))
            wanted["Origin"] = "https://example.com"
            self.assertEqual(server.call("OPTIONS", "/v1/chat/completions", headers=wanted).code, 403)
            for path in ("/slots", "/metrics"):
                self.assertEqual(server.get(path, headers=keys[0]).code, 501)
            self.assertEqual(server.post("/completion", {"prompt": "x" * 3000}, headers=keys[0]).code, 413)
            answer = server.post("/completion", b'{"a":' * 5 + b"1" + b"}" * 5, headers=keys[0])
            self.assertEqual((answer.code, "nests 5" in answer.json()["error"]["message"]), (400, True))
            answer = server.post("/v1/chat/completions", {"messages": CHAT}, headers=keys[0])
            self.assertEqual(answer.code, 200, answer.body)  # the model's own template
            self.slow_clients(server)

    def slow_clients(self, server):
        """Those who send a byte now and then, or nothing, are cut off; meanwhile and afterwards others are served."""
        head = b"POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
        slow = [server.raw(b"GET / HT"), server.raw(head + b"{"), server.raw(b"")]
        begun, closed = time.time(), set()
        while len(closed) < len(slow) and time.time() - begun < 60:
            for i, connection in enumerate(slow):
                connection.settimeout(0.2)
                try:
                    connection.sendall(b" ")
                    closed |= {i} if connection.recv(100) == b"" else set()
                except socket.timeout:
                    pass
                except OSError:
                    closed.add(i)
            self.assertEqual(server.get("/health").code, 200)
        self.assertEqual(len(closed), len(slow))
        self.assertGreater(time.time() - begun, 1.5)
        [c.close() for c in slow]
        crowd = [server.raw(b"") for _ in range(20)]
        [c.close() for c in crowd]
        self.assertTrue(until(30, lambda: self.answers(server)))

    @staticmethod
    def answers(server):
        try:
            return server.get("/health").code == 200
        except OSError:
            return False

    def test_the_end_while_an_answer_is_written(self):
        with Server("-c", 2048, "-np", 1, "-b", 64, "--alias", os.fsdecode(b"\xff")) as server:
            self.assertEqual(server.get("/v1/models").json()["data"][0]["id"], "model")  # that name is no UTF-8
            path, body = "/v1/completions", dict(GREEDY, prompt="def ", max_tokens=-1, ignore_eos=True, stream=True)
            with server.raw(server.request_bytes(path, body)) as writing:
                stream = writing.makefile("rb")
                while b"data:" not in stream.readline():
                    pass
                with server.raw(server.request_bytes(path, body)) as waiting:
                    self.assertTrue(until(20, lambda: server.metric("requests_deferred") == 1))
                    self.assertEqual(server.get("/slots?fail_on_no_slot=1").code, 503)
                    code, err = server.end()
                    self.assertEqual(code, 0, err)
                    self.assertTrue(b"503" in stream.read()[-400:])
                    self.assertTrue(b"503" in waiting.makefile("rb").read()[-400:])

    def test_command_line(self):
        self.bad(1, "cannot listen at", "serve", "-m", MODEL, "--host", "192.0.2.1")
        self.bad(1, "cannot find", "serve", "-m", MODEL, "--host", "not a host")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.bad(1, "port %d" % taken.getsockname()[1], "serve", "-m", MODEL, "--port", taken.getsockname()[1])
        self.bad(2, "--port", "serve", "-m", MODEL, "--port", 70000)
        self.bad(2, "empty", "serve", "-m", MODEL, "--api-key", "")
        process = subprocess.run([cli.BIN, "serve", "-m", cli.data("missing.gguf"), "--port", "0"], capture_output=True, timeout=60,
                                 env=cli.environment(), check=False)
        self.assertEqual(process.returncode, 1)
        self.assertTrue(re.search(rb"missing\.gguf", process.stderr))


if __name__ == "__main__":
    cli.main()
