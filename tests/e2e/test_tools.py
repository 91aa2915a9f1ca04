"""Calls of functions, and thoughts, with `seamount serve` and the model that comes with seamount: whatever the model is, its calls are
well-formed and follow its thoughts."""
import json
import os
import tempfile

import cli
from server import MODEL, Server
from test_serve import CHAT, GREEDY, Shared, joined, setUpModule, tearDownModule  # noqa: F401: unittest finds the last two here


def function(name, **properties):
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties,
                                                                          "required": list(properties)}}}


class Tools(Shared):
    """A stream tells the same as a document."""
    DIGIT = {"type": "integer", "minimum": 1, "maximum": 9}
    TOOLS = [function("weather", city={"enum": ["Rome", "Oslo"]}, days=DIGIT), function("stop")]
    # The model repeats what it sees: a call where there was one before.
    EXAMPLE = [{"role": "user", "content": "n = 5"},
               {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "pick", "arguments": '{"n": 5}'}}]},
               {"role": "tool", "tool_call_id": "a", "content": "5"}, {"role": "user", "content": "n = 5"}]

    def body(self, **more):
        return dict(GREEDY, messages=CHAT, tools=self.TOOLS, max_tokens=80, **more)

    def check(self, call):
        self.assertEqual((call["type"], call["id"][:5]), ("function", "call_"))
        name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
        if name == "weather":
            self.assertEqual(sorted(arguments), ["city", "days"])
            self.assertIn(arguments["city"], ["Rome", "Oslo"])
            self.assertIn(arguments["days"], range(1, 10))
        else:
            self.assertEqual((name, arguments), ("stop", {}))
        return name, call["function"]["arguments"]

    def check_stream(self, body, document):
        """What a client puts together of a stream is the document."""
        _, reason, chunks = joined(self.stream("/v1/chat/completions", body))
        self.assertEqual(chunks[0]["choices"][0]["delta"], {"role": "assistant", "content": None})
        calls, text = [], ""
        for chunk in chunks[1:]:
            delta = chunk["choices"][0]["delta"]
            text += delta.get("content", "")
            for part in delta.get("tool_calls", []):
                self.assertFalse("content" in delta)
                if part["index"] == len(calls):
                    self.assertEqual((part["type"], part["function"]["arguments"], part["id"][:5]), ("function", "", "call_"))
                    calls.append([part["function"]["name"], ""])
                else:
                    self.assertEqual((part["index"], list(part["function"]), set(part)), (len(calls) - 1, ["arguments"], {"index", "function"}))
                    calls[-1][1] += part["function"]["arguments"]
        message = document["message"]
        want = [[c["function"]["name"], c["function"]["arguments"]] for c in message.get("tool_calls", [])]
        self.assertEqual((calls, text or None, reason), (want, message["content"] or None, document["finish_reason"]))

    def test_calls_that_must_be(self):
        for more in ({"tool_choice": "required", "parallel_tool_calls": False},
                     {"tool_choice": {"type": "function", "function": {"name": "stop"}}}):
            choice = self.post("/v1/chat/completions", self.body(**more))["choices"][0]
            self.assertEqual((choice["finish_reason"], choice["message"]["content"]), ("tool_calls", None))
            names = [self.check(call)[0] for call in choice["message"]["tool_calls"]]
            self.assertEqual(len(names), 1)
            self.assertTrue("parallel_tool_calls" in more or names == ["stop"])
            self.check_stream(self.body(**more), choice)
        wild = self.body(tool_choice="required", parallel_tool_calls=False, temperature=3, top_k=0, n=2, seed=1)
        calls = [c["message"]["tool_calls"][0] for c in self.post("/v1/chat/completions", wild)["choices"]]
        [self.check(call) for call in calls]
        self.assertNotEqual(calls[0]["id"], calls[1]["id"])

    def test_several_calls_and_one_cut_off(self):
        body = dict(self.body(tool_choice="required"), max_tokens=60)
        choice = self.post("/v1/chat/completions", body)["choices"][0]
        calls = choice["message"]["tool_calls"]
        self.assertGreater(len(calls), 1)
        self.assertEqual(choice["finish_reason"], "length")
        [self.check(call) for call in calls[:-1]]
        self.check_stream(body, choice)

    @cli.in_full_tier
    def test_calls_that_may_be(self):
        body = dict(self.body(), max_tokens=8)
        choice = self.post("/v1/chat/completions", body)["choices"][0]
        self.assertEqual(("tool_calls" in choice["message"], choice["finish_reason"]), (False, "length"))
        self.check_stream(body, choice)
        body = dict(self.body(parallel_tool_calls=False), messages=self.EXAMPLE, tools=[function("pick", n=self.DIGIT)])
        choice = self.post("/v1/chat/completions", body)["choices"][0]
        self.assertEqual((choice["finish_reason"], choice["message"]["tool_calls"][0]["function"]["name"]), ("tool_calls", "pick"))
        self.check_stream(body, choice)
        body.update(tool_choice="none", max_tokens=4)
        self.assertNotIn("tool_calls", self.post("/v1/chat/completions", body)["choices"][0]["message"])

    @cli.in_full_tier
    def test_stops_end_texts_and_not_calls(self):
        body = dict(self.body(parallel_tool_calls=False), messages=self.EXAMPLE, tools=[function("pick", n=self.DIGIT)])
        free = self.post("/v1/chat/completions", body)["choices"][0]
        for stop in (["{", "5"], [">\n{"], ["name", "}"]):  # inside a call, and from its mark into it
            choice = self.post("/v1/chat/completions", dict(body, stop=stop))["choices"][0]
            self.assertEqual([c["function"] for c in choice["message"]["tool_calls"]], [c["function"] for c in free["message"]["tool_calls"]])
            self.assertEqual(choice["finish_reason"], "tool_calls")
            self.check_stream(dict(body, stop=stop), choice)
        body = dict(self.body(), max_tokens=8)
        text = self.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
        body["stop"] = text[len(text) // 2:]
        choice = self.post("/v1/chat/completions", body)["choices"][0]
        self.assertEqual((choice["message"]["content"] or "", choice["finish_reason"]), (text[:text.index(body["stop"])], "stop"))
        self.check_stream(body, choice)

    def test_calls_or_a_text_of_some_shape(self):
        shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": [7]}}}
        seven = [[t["id"], False] for t in self.post("/tokenize", {"content": "7", "with_pieces": True})["tokens"]]
        choice = self.post("/v1/chat/completions", self.body(response_format=shape, logit_bias=[["7", 100]]))["choices"][0]
        self.assertEqual((choice["message"]["content"], choice["finish_reason"]), ("7", "stop"))
        body = self.body(response_format=shape, logit_bias=seven, parallel_tool_calls=False)
        choice = self.post("/v1/chat/completions", body)["choices"][0]
        self.check(choice["message"]["tool_calls"][0])
        self.refused(400, "grammar", "/v1/chat/completions", self.body(grammar='root ::= "x"'))

    def test_logprobs(self):
        body = self.body(tool_choice="required", parallel_tool_calls=False, logprobs=True, top_logprobs=1)
        document = self.post("/v1/chat/completions", body)
        content = document["choices"][0]["logprobs"]["content"]
        self.assertEqual(len(content), document["usage"]["completion_tokens"])
        chunks = joined(self.stream("/v1/chat/completions", body))[2]
        self.assertEqual([e for c in chunks for e in (c["choices"][0]["logprobs"] or {"content": []})["content"]], content)

    def test_prompts(self):
        prompt = self.post("/apply-template", {"messages": self.EXAMPLE, "tools": self.TOOLS})["prompt"]
        self.assertIn('{"name": "stop"', prompt)
        self.assertIn('Assistant: <tool_call>\n{"name": "pick", "arguments": {"n": 5}}\n</tool_call>', prompt)
        self.assertTrue(prompt.endswith("User: <tool_response>\n5\n</tool_response>\nn = 5\n\nAssistant:"), prompt)
        odd = function("odd", x={"unevaluatedItems": False})
        body = dict(self.body(tool_choice="required", parallel_tool_calls=False), tools=[odd], max_tokens=20)
        self.assertEqual(self.post("/v1/chat/completions", body)["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "odd")
        odd["function"]["strict"] = True
        error = self.refused(400, "#/properties/x", "/v1/chat/completions", {"messages": CHAT, "tools": [odd]})
        self.assertIn('"odd"', error["message"])


@cli.in_full_tier
class Dialects(Shared):
    """Calls as the model's template spells them: written, read back, and put into the next prompt."""
    # As Hermes' and Qwen's are: arguments as objects, functions listed by the template.
    HERMES = ("{% if tools %}{{ 'Tools: ' }}{{ tools | tojson }}{{ '\\n' }}{% endif %}{% for m in messages %}{{ m.role + ': ' }}"
              "{% if m.tool_calls %}{% for c in m.tool_calls %}{{ '<tool_call>\\n{\"name\": \"' + c.function.name + '\", \"arguments\": ' }}"
              "{{ c.function.arguments | tojson }}{{ '}\\n</tool_call>' }}{% endfor %}{% else %}{{ m.content }}{% endif %}{{ '\\n' }}{% endfor %}"
              "{{ 'assistant: ' }}")
    own = None

    @property
    def server(self):
        return self.own

    def converse(self, template, spelled, listed):
        tools = [function("pick", n=Tools.DIGIT)]
        body = dict(GREEDY, messages=Tools.EXAMPLE, tools=tools, tool_choice="required", parallel_tool_calls=False, max_tokens=300,
                    stop=["5", "pick"])
        with Server("-c", 1024, "-np", 1, "-b", 64, "--chat-template", template) as self.own:
            choice = self.post("/v1/chat/completions", body)["choices"][0]
            self.assertEqual((choice["finish_reason"], choice["message"]["content"]), ("tool_calls", None))
            call = choice["message"]["tool_calls"][0]["function"]
            self.assertEqual((call["name"], list(json.loads(call["arguments"]))), ("pick", ["n"]))
            chunks = joined(self.stream("/v1/chat/completions", body))[2]
            parts = [p["function"]["arguments"] for c in chunks for p in c["choices"][0]["delta"].get("tool_calls", [])]
            self.assertEqual("".join(parts), call["arguments"])
            messages = CHAT + [choice["message"], {"role": "tool", "tool_call_id": "b", "content": "seven"}]
            prompt = self.post("/apply-template", {"messages": messages, "tools": tools})["prompt"]
            self.assertIn(spelled % json.loads(call["arguments"])["n"], prompt)
            self.assertIn("seven", prompt)
            self.assertEqual("You can call" in prompt, not listed, prompt)
            deep = dict(Tools.EXAMPLE[1], tool_calls=[{"function": {"name": "pick", "arguments": "[" * 65 + "]" * 65}}])
            answer = self.server.post("/apply-template", {"messages": [deep]})  # a text, or an object, which has to be read
            self.assertEqual((answer.code, b"nests 65 levels deep" in answer.body), (400, True) if listed else (200, False))

    def test_deepseek(self):
        self.converse("deepseek3", '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>pick\n```json\n{"n": %d}\n```<｜tool▁call▁end｜>', False)

    def test_hermes(self):
        self.converse(self.HERMES, '<tool_call>\n{"name": "pick", "arguments": {"n": %d}}\n</tool_call>', True)


class Thoughts(Shared):
    """What a model thinks goes out apart from what it answers; a grammar makes one write what it would not."""
    GRAMMAR = 'root ::= "<think>\\nIt is 4.\\n</think>\\n\\nFour, <think>"'
    PATH = "/v1/chat/completions"

    def body(self, **more):
        return dict(GREEDY, messages=CHAT, grammar=self.GRAMMAR, max_tokens=60, **more)

    def check_stream(self, body, document):
        """What a client puts together of a stream is the document; thoughts come first."""
        events = self.stream(self.PATH, dict(body, stream_options={"include_usage": True}))
        usage = events[-2]["usage"]
        _, reason, chunks = joined(events)
        deltas = [c["choices"][0]["delta"] for c in chunks]
        self.assertEqual((deltas[0]["role"], deltas[0]["reasoning_content"]), ("assistant", None))
        self.assertEqual(deltas[-1], {"content": "", "reasoning_content": None})
        thinks = [d.get("reasoning_content") is not None for d in deltas[1:]]
        self.assertEqual(thinks, sorted(thinks, reverse=True))
        message = document["message"]
        told = ["".join(d.get(name) or "" for d in deltas) for name in ("reasoning_content", "content")]
        self.assertEqual((told, reason), ([message["reasoning_content"] or "", message["content"] or ""], document["finish_reason"]))
        return usage

    def test_thoughts_apart(self):
        body = self.body(reasoning_format="deepseek")
        document = self.post(self.PATH, body)
        choice = document["choices"][0]
        self.assertEqual(choice["message"], {"role": "assistant", "content": "Four, <think>", "reasoning_content": "It is 4."})
        self.assertEqual(choice["finish_reason"], "stop")
        n = document["usage"]["completion_tokens_details"]["reasoning_tokens"]
        self.assertTrue(10 < n < document["usage"]["completion_tokens"] - 5, document["usage"])
        self.assertEqual(self.check_stream(body, choice)["completion_tokens_details"], {"reasoning_tokens": n})
        cut = dict(body, max_tokens=11, logprobs=True)
        document = self.post(self.PATH, cut)
        choice = document["choices"][0]
        self.assertEqual((choice["message"]["content"], choice["finish_reason"]), ("", "length"))
        self.assertRegex(choice["message"]["reasoning_content"], "^It( is)?( 4)?[.]?$")
        self.assertEqual(document["usage"]["completion_tokens_details"]["reasoning_tokens"], 11)
        self.check_stream(cut, choice)
        stopped = self.post(self.PATH, dict(body, stop=["is", ","]))["choices"][0]["message"]
        self.assertEqual((stopped["content"], stopped["reasoning_content"]), ("Four", "It is 4."))
        both = self.post(self.PATH, dict(body, n=2, seed=1))["choices"]
        self.assertEqual(both[0]["message"], both[1]["message"])

    def test_thoughts_as_they_are(self):
        for more in ({}, {"reasoning_format": "none"}, {"reasoning_format": "auto"}):  # neither the template nor the vocabulary knows any
            message = self.post(self.PATH, self.body(**more))["choices"][0]["message"]
            self.assertEqual(message, {"role": "assistant", "content": "<think>\nIt is 4.\n</think>\n\nFour, <think>"})
        self.assertEqual(self.get("/props").json()["default_generation_settings"]["params"]["reasoning_format"], "none")
        self.refused(400, "hidden", self.PATH, self.body(reasoning_format="hidden"))
        self.refused(400, "reasoning_format", self.PATH, self.body(reasoning_format=1))
        deepseek = dict(self.body(reasoning_format="deepseek"), grammar='root ::= "4 <think>"')
        message = self.post(self.PATH, deepseek)["choices"][0]["message"]
        self.assertEqual(message, {"role": "assistant", "content": "4 <think>", "reasoning_content": None})

    def test_timings_of_each_token(self):
        body = dict(GREEDY, prompt="def ", n_predict=4, timings_per_token=True)
        events = self.stream("/completion", body)
        self.assertEqual([e["timings"]["predicted_n"] for e in events], [e["tokens_predicted"] for e in events])
        self.assertTrue(all(e["timings"]["prompt_ms"] > 0 for e in events), events)
        self.assertGreater(len(events), 2)
        events = self.stream("/completion", dict(body, timings_per_token=False))
        self.assertEqual(["timings" in e for e in events], [False] * (len(events) - 1) + [True])
        events = joined(self.stream(self.PATH, dict(GREEDY, messages=CHAT, max_tokens=4, timings_per_token=True, n=2)))[2]
        self.assertEqual(["timings" in e for e in events], [True] * len(events))
        for index in (0, 1):  # the last event tells how long all took
            times = [e["timings"]["predicted_ms"] for e in events if e["choices"][0]["index"] == index]
            self.assertGreater(times[-1], times[-2])


@cli.in_full_tier
class Thinkers(Thoughts):
    """A vocabulary whose marks are tokens of their own, and a template that leads into a thought, as R1's, where it is told to."""
    TEMPLATE = ("{{ mood }}{% for m in messages %}{{ m.role + ': ' }}{{ m.content or '' }}{% if m.reasoning_content %}{{ '[' + m.reasoning_content + ']' }}"
                "{% endif %}{{ '\n' }}{% endfor %}{{ 'assistant:' }}{% if thinking %}{{ '<think>\n' }}{% elif thinking is false %}{{ '</think>' }}"
                "{% endif %}")
    own = None

    @property
    def server(self):
        return self.own

    @classmethod
    def setUpClass(cls):
        cls.file = tempfile.NamedTemporaryFile(suffix=".gguf")
        with open(MODEL, "rb") as f:
            content = f.read()

        def text(letters):
            return len(letters.encode()).to_bytes(8, "little") + letters.encode()
        for old, new in (("<｜▁pad▁｜>", "<think>"), ("<｜fim▁hole｜>", "</think>")):
            content = content.replace(text(old), text(new))
        at = content.index(b"tokenizer.chat_template") + len(b"tokenizer.chat_template") + 4
        size = int.from_bytes(content[at:at + 8], "little")
        content = content[:at] + text(content[at + 8:at + 8 + size].decode() + " " * 20) + content[at + 8 + size:]  # as long as it was
        assert len(content) == os.path.getsize(MODEL)
        cls.file.write(content)
        cls.file.flush()
        cls.own = Server("-m", cls.file.name, "-c", 512, "-np", 2, "-b", 64, "--chat-template", cls.TEMPLATE, "-n", 12,
                         "--chat-template-kwargs", '{"mood": "calm, "}')

    @classmethod
    def tearDownClass(cls):
        cls.own.end()
        cls.own.__exit__()
        cls.file.close()

    def mark(self, text):
        return self.post("/tokenize", {"content": text, "parse_special": True})["tokens"][0]

    def test_thoughts_as_they_are(self):
        message = self.post(self.PATH, self.body())["choices"][0]["message"]
        self.assertEqual((message["content"], message["reasoning_content"]), ("Four, <think>", "It is 4."))
        message = self.post(self.PATH, self.body(reasoning_format="none"))["choices"][0]["message"]
        self.assertEqual(message, {"role": "assistant", "content": "<think>\nIt is 4.\n</think>\n\nFour, <think>"})
        self.assertEqual(self.get("/props").json()["default_generation_settings"]["params"]["reasoning_format"], "deepseek")

    def test_marks_that_are_tokens(self):
        body = self.body(logit_bias={str(self.mark("<think>")): 100, str(self.mark("</think>")): 100})
        document = self.post(self.PATH, body)
        self.assertEqual(document["choices"][0]["message"], {"role": "assistant", "content": "Four, <think>", "reasoning_content": "It is 4."})
        self.check_stream(body, document["choices"][0])

    def test_prompts(self):
        def ends(end, **more):
            prompt = self.post("/apply-template", dict(more, messages=CHAT))["prompt"]
            self.assertTrue(prompt.endswith("assistant:" + end), prompt)
        ends("")
        for on in ({"chat_template_kwargs": {"thinking": True}}, {"chat_template_kwargs": {"enable_thinking": True}},
                   {"thinking": {"type": "enabled"}}):
            ends("<think>\n", **on)
        for off in ({"chat_template_kwargs": {"enable_thinking": False}}, {"thinking": {"type": "disabled"}},
                    {"chat_template_kwargs": {"thinking": False}, "thinking": {"type": "enabled"}}):
            ends("</think>", **off)
        for more, mood in (({}, "calm, "), ({"chat_template_kwargs": {"mood": "mad, "}}, "mad, ")):
            self.assertEqual(self.post("/apply-template", dict(more, messages=CHAT))["prompt"][:5], mood[:5])
        thought = {"role": "assistant", "content": "4", "reasoning_content": "2 + 2"}
        self.assertIn("assistant: 4[2 + 2]\n", self.post("/apply-template", {"messages": CHAT + [thought]})["prompt"])

    def test_calls_and_shapes_behind_thoughts(self):
        """Where the prompt leads into a thought: whatever is thought, the answer is what was asked for."""
        thoughts = []
        end = {str(self.mark("</think>")): 6}
        shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": [7]}}}
        for seed in range(4):
            body = dict(messages=CHAT, temperature=2, top_k=0, seed=seed, max_tokens=300, logit_bias=end, chat_template_kwargs={"thinking": True})
            choice = self.post(self.PATH, dict(body, response_format=shape))["choices"][0]
            self.assertEqual((choice["message"]["content"], choice["finish_reason"]), ("7", "stop"))
            thoughts.append(choice["message"]["reasoning_content"])
            choice = self.post(self.PATH, dict(body, response_format=shape, reasoning_format="none"))["choices"][0]
            self.assertRegex(choice["message"]["content"], "</think>7$")
            body.update(tools=[function("pick", n=Tools.DIGIT)], tool_choice="required", parallel_tool_calls=False)
            choice = self.post(self.PATH, body)["choices"][0]
            self.assertEqual((choice["message"]["content"], choice["finish_reason"]), (None, "tool_calls"))
            call = choice["message"]["tool_calls"][0]["function"]
            self.assertEqual((call["name"], list(json.loads(call["arguments"]))), ("pick", ["n"]))
            thoughts.append(choice["message"]["reasoning_content"])
            plain = self.post(self.PATH, dict(body, reasoning_format="none"))["choices"][0]
            self.assertEqual((plain["message"]["tool_calls"][0]["function"], plain["finish_reason"]), (call, "tool_calls"))
            self.assertNotIn("reasoning_content", plain["message"])
            self.assertEqual("".join(plain["message"]["content"].split()), "".join(((thoughts[-1] or "") + "</think>").split()))
        self.check_stream(body, choice)
        deltas = [c["choices"][0]["delta"] for c in joined(self.stream(self.PATH, dict(body, reasoning_format="none")))[2]]
        self.assertEqual("".join(d.get("content") or "" for d in deltas), plain["message"]["content"])
        self.assertFalse([d for d in deltas if "reasoning_content" in d])
        self.assertGreater(len(set(thoughts)), 2, thoughts)

    test_timings_of_each_token = None  # the model has no part in it


if __name__ == "__main__":
    cli.main()
