"""`seamount serve` among clients that are broken, slow, many or hostile. After each of them the server is as it was: ready, all slots
idle, the same answer to the same request."""
import json
import os
import re
import signal
import socket
import threading
import time
import unittest

import cli
from server import Server, until

CTX, SLOTS, TIMEOUT, CONNECTIONS = 512, 3, 2, 12
PROBE = {"prompt": "for i in range(", "max_tokens": 8, "temperature": 0}
ENDLESS = {"prompt": "def ", "n_predict": -1, "temperature": 0, "ignore_eos": True, "stream": True}
HEAD = b"POST /completion HTTP/1.1\r\nHost: localhost\r\n"


def setUpModule():
    if "VK_ICD_FILENAMES" not in cli.environment() and not cli.call("devices", "--json").json():
        raise unittest.SkipTest("no Vulkan device")


def exchange(server, data, seconds=10):
    """All that comes back until the server closes, or has nothing to say for a while."""
    answer = b""
    with server.raw(data, seconds) as connection:
        try:
            while True:
                more = connection.recv(1 << 16)
                if not more:
                    return answer
                answer += more
        except OSError:
            return answer


def codes(answer):
    return [int(code) for code in re.findall(rb"HTTP/1\.\d (\d+) ", answer)]


class Calm(cli.Case):
    """Tests of one server; what each leaves behind is looked at."""
    server = answer = None
    timeout = TIMEOUT

    @classmethod
    def setUpClass(cls):
        cls.server = Server("-c", CTX, "-np", SLOTS, "-b", 64, "--timeout", cls.timeout, "--max-connections", CONNECTIONS, "--max-body", 1 << 20)
        cls.answer = cls.probe()

    @classmethod
    def tearDownClass(cls):
        code, err = cls.server.end()
        cls.server.__exit__()
        assert code == 0, err

    @classmethod
    def probe(cls):
        return cls.server.post("/v1/completions", PROBE).json()["choices"][0]["text"]

    def tearDown(self):
        self.assertTrue(until(60, lambda: self.server.get("/health").code == 200 and self.idle()))
        self.assertEqual(self.probe(), self.answer)

    def idle(self):
        return self.server.busy() == 0 and self.server.metric("requests_deferred") == 0

    def begun(self, body, path="/completion"):
        """A connection whose stream has begun."""
        connection = self.server.raw(self.server.request_bytes(path, body))
        self.assertIn(b"data:", self.until_data(connection))
        return connection

    @staticmethod
    def until_data(connection):
        seen = b""
        while b"data:" not in seen:
            more = connection.recv(4096)
            if not more:
                break
            seen += more
        return seen


class Names(Calm):
    def health(self, host, server=None, **headers):
        return (server or self.server).get("/health", headers=dict(headers, Host=host)).code

    def test_names_of_others_are_refused(self):
        port = self.server.port
        for host in ("localhost", "LOCALHOST:%d" % port, "localhost.", "a.localhost:1", "127.0.0.1:%d" % port, "127.0.0.1", "[::1]:80", "192.0.2.7"):
            self.assertEqual(self.health(host), 200, host)
        for host in ("example.org", "example.org:%d" % port, "localhost.example.org", "127.0.0.1.example.org", "xlocalhost", ".localhost", "", ":80",
                     "[::1].example.org.", "[::1]x", "[::1", "localhost@example.org", "a" * 300):
            self.assertEqual(self.health(host), 403, host)
        rebound = "rebind.example.org:%d" % port
        self.assertEqual(self.health(rebound, Origin="http://" + rebound), 403)
        error = self.server.post("/completion", ENDLESS, headers={"Host": rebound}).json()["error"]
        self.assertEqual((error["type"], "--allow-host" in error["message"], rebound in error["message"]), ("permission_error", True, True))
        self.assertEqual(codes(exchange(self.server, b"GET /health HTTP/1.0\r\n\r\n")), [200])

    def test_names_that_are_allowed(self):
        with Server("-c", 64, "-np", 1, "-b", 64, "--allow-host", "box.example.org", "--allow-host", "other:8080", "--allow-host", "dot.",
                    wait=False) as server:
            for host in ("Box.example.org:443", "other", "other:8080", "dot", "dot.:80"):
                self.assertNotEqual(self.health(host, server), 403, host)
            self.assertNotEqual(self.health("localhost", server), 403)
            self.assertEqual(self.health("example.org", server), 403)
            server.wait()


class Protocol(Calm):
    def test_two_ends_of_one_body(self):
        """What two readers would cut differently is refused, and nothing after it on the connection is read."""
        body, next_one = b'{"content":"def"}', b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
        head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\n"
        for more in (b"Content-Length: 17\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n" + body + b"\r\n0\r\n\r\n",
                     b"Content-Length: 17\r\nContent-Length: 2\r\n\r\n" + body, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
                     b"Transfer-Encoding: chunked, gzip\r\n\r\n", b"Host: localhost\r\nContent-Length: 17\r\n\r\n" + body,
                     b"Content-Length: +17\r\n\r\n" + body, b"Content-Length: 0x11\r\n\r\n" + body):
            self.assertEqual(set(codes(exchange(self.server, head + more + next_one, 1))), {400}, more)

    def test_pipelined(self):
        one = self.server.request_bytes("/completion", dict(ENDLESS, n_predict=3))
        plain = self.server.request_bytes("/completion", dict(ENDLESS, n_predict=3, stream=False))
        last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = exchange(self.server, one + plain + self.server.request_bytes("/tokenize", {}) + one + last)
        self.assertEqual(codes(answer), [200, 200, 400, 200, 200])
        self.assertEqual(answer.count(b'"stop":true'), 3)

    def test_old_clients(self):
        data = json.dumps(dict(ENDLESS, n_predict=3)).encode()
        answer = exchange(self.server, b"POST /completion HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        self.assertEqual(codes(answer), [200])
        self.assertNotIn(b"chunked", answer)
        self.assertIn(b'"stop":true', answer)

    def test_bodies_that_are_asked_for(self):
        """Expect: 100-continue: a word before the body; the refusal at once where it is clear."""
        body = b'{"content":"def"}'
        head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        with self.server.raw(head % len(body)) as connection:
            self.assertIn(b"100 Continue", connection.recv(100))
            connection.sendall(body)
            self.assertIn(b'"tokens"', connection.makefile("rb").read())
        self.assertEqual(codes(exchange(self.server, head % (1 << 40), TIMEOUT / 2)), [413])
        self.assertEqual(codes(exchange(self.server, b"POST /none" + (head % 5)[14:], TIMEOUT / 2)), [404])

    def test_broken_off(self):
        whole = self.server.request_bytes("/tokenize", {"content": "def"})
        for cut in list(range(0, len(whole), 7)) + [len(whole) - 1]:
            with self.server.raw(whole[:cut]) as connection:
                connection.shutdown(socket.SHUT_WR)
                self.assertNotIn(b" 200 ", connection.recv(1000), cut)
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        for end in (b"5\r\n{}", b"5;x=y\r\n{}   \r\n", b"fffffffffffffffff\r\n", b"-1\r\n", b"0\r\n\r\n", b"1\r\n{\r\n0\r\nTrailer: x\r\n\r\n", b"\r\n"):
            self.assertNotIn(200, codes(exchange(self.server, chunked + end, 0.5)), end)
        many = b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(20000))
        self.assertEqual([c // 100 for c in codes(exchange(self.server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n", 2))], [4])


class Bodies(Calm):
    FIELDS = ["prompt", "suffix", "n_predict", "max_tokens", "max_completion_tokens", "temperature", "top_k", "top_p", "min_p", "repeat_penalty",
              "repeat_last_n", "presence_penalty", "frequency_penalty", "seed", "n", "best_of", "stop", "stream", "stream_options", "logit_bias",
              "logprobs", "top_logprobs", "n_probs", "cache_prompt", "return_tokens", "response_fields", "ignore_eos", "t_max_predict_ms",
              "grammar", "json_schema", "response_format", "messages", "chat_template_kwargs", "add_generation_prompt", "input_prefix",
              "input_suffix", "input_extra", "input", "dimensions", "encoding_format", "content", "add_special", "parse_special", "with_pieces",
              "tokens", "tools", "tool_choice", "model", "user"]
    VALUES = [b"true", b"-2", b"1e308", b'"x"', b"[]", b'[null,"x"]', b'{"type":{}}']
    ROUTES = {"/v1/completions": {"prompt": "x", "max_tokens": 1}, "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1},
              "/completion": {"prompt": "x", "n_predict": 1}, "/infill": {"input_prefix": "x", "n_predict": 1}, "/v1/embeddings": {"input": "x"},
              "/tokenize": {"content": "x"}, "/detokenize": {"tokens": [5]}, "/apply-template": {"messages": [{"role": "user", "content": "x"}]}}

    def test_wrong_types_for_every_field(self):
        """Each is an answer or a 400 in the form of one, on one connection for each route."""
        for path, body in self.ROUTES.items():
            connection = self.server.raw(b"")
            stream = connection.makefile("rb")
            for field in self.FIELDS:
                for value in self.VALUES:
                    rest = {k: v for k, v in body.items() if k != field}
                    data = json.dumps(rest).encode()[:-1] + b", " * bool(rest) + b'"%s": %s}' % (field.encode(), value)
                    connection.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(data)) + data)
                    code, answer = self.read_answer(stream)
                    self.assertIn(code, (200, 400), data)
                    if code == 400:
                        self.assertEqual(json.loads(answer)["error"]["type"], "invalid_request_error", data)
            connection.close()

    @staticmethod
    def read_answer(stream):
        code, length, line = int(stream.readline().split()[1]), None, b"-"
        while line.strip():
            line = stream.readline()
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if length is not None:
            return code, stream.read(length)
        parts = []
        while parts[-1:] != [b""]:
            parts.append(stream.read(int(stream.readline(), 16) + 2)[:-2])
        return code, b"".join(parts)

    def test_json_that_is_none(self):
        for body in (b'{"prompt": "\xff\xfe"}', b'{"prompt": "\xed\xa0\x80"}', b'{"prompt": "\xc0\xaf"}', b'{"prompt": "\\ud800"}',
                     b'{"prompt": "\\udc00x"}', b'{"prompt": "\\u00"}', b'{"prompt": "a\nb"}', b'{"prompt": "x", "temperature": NaN}',
                     b'{"prompt": "x", "temperature": Infinity}', b'{"prompt": "x", "temperature": 1e999}', b'{"prompt": "x", "seed": %s}' % (b"9" * 400),
                     b'{"prompt": "x", "n": 01}', b'{"prompt": "x",}', b"{'prompt': 'x'}", b'{"prompt": "x"}{}', b"\xef\xbb\xbf{}", b"\x00", b"null",
                     b"[" * 100000, b'{"a":' * 65 + b"1" + b"}" * 65, b'{"prompt": [' + b"[]," * 300000 + b"[]]}", b'"' + b"\\" * 9, b"{" * 64):
            answer = self.server.post("/v1/completions", body)
            self.assertEqual((answer.code, answer.json()["error"]["type"]), (400, "invalid_request_error"), body[:60])
        twice = self.server.post("/v1/completions", b'{"prompt": 5, "max_tokens": 1, "prompt": "for i in range(", "temperature": 0}').json()
        self.assertTrue(self.answer.startswith(twice["choices"][0]["text"]))  # the last of two members counts

    def test_too_many_probabilities_for_a_document(self):
        body = {"prompt": "x", "n_predict": -1, "n": 8, "n_probs": 100, "ignore_eos": True}
        answer = self.server.post("/completion", body)
        self.assertEqual((answer.code, "log-probabilities" in answer.json()["error"]["message"]), (400, True))


class Clients(Calm):
    def test_killed(self):
        """Processes that end in the middle: of headers, bodies, prompts, streams."""
        long = self.server.request_bytes("/completion", dict(ENDLESS, prompt=[7] * 400, cache_prompt=False))
        short = self.server.request_bytes("/v1/completions", dict(ENDLESS, max_tokens=-1))
        for turn, data in enumerate([short, long, short[:90], long[:40], short, long, short + short, long + b"GET"] * 2):
            child = os.fork()
            if child == 0:
                connection = self.server.raw(data)
                while connection.recv(100):
                    pass
                os._exit(0)
            time.sleep(0.03 * (turn % 5))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def test_half_closed(self):
        """Who sends no more waits for no answer: the slot is free again long before the answer would be whole."""
        connection = self.begun(ENDLESS)
        before = self.server.metric("n_decode_total")
        connection.shutdown(socket.SHUT_WR)
        self.assertTrue(until(20, lambda: self.server.busy() == 0))
        self.assertLess(self.server.metric("n_decode_total") - before, CTX / 2)
        connection.close()

    def test_slow_ones(self):
        """Headers and bodies that come byte by byte are cut off in time; others are served meanwhile."""
        slow = [self.server.raw(start) for start in (b"GET / HT", HEAD, HEAD + b"Content-Length: 9999\r\n\r\n{", HEAD + b"Transfer-Encoding: chunked\r\n\r\n")]
        begun, cut = time.time(), {}
        while len(cut) < len(slow) and time.time() - begun < 30:
            for i, connection in enumerate(slow):
                try:
                    connection.sendall(b"1" if i < 3 else b"1\r\n \r\n")
                    connection.settimeout(0.05)
                    if connection.recv(100) == b"":
                        cut.setdefault(i, time.time() - begun)
                except socket.timeout:
                    pass
                except OSError:
                    cut.setdefault(i, time.time() - begun)
            self.assertEqual(self.probe(), self.answer)
        [c.close() for c in slow]
        self.assertEqual(len(cut), len(slow))
        self.assertGreater(min(cut.values()), TIMEOUT * 0.8)

    def test_who_does_not_read(self):
        """Streams that nobody reads end, their memory is bounded, and others do not notice."""
        before = self.server.resident()
        deaf = []
        for _ in range(SLOTS + 1):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((self.server.host, self.server.port))
            connection.sendall(self.server.request_bytes("/completion", dict(ENDLESS, n=8, n_probs=100)))
            deaf.append(connection)
        self.assertTrue(until(20, lambda: self.server.busy() == SLOTS))
        self.assertEqual(self.probe(), self.answer)
        self.assertTrue(until(60, self.idle))
        self.assertLess(self.server.resident() - before, 100 << 10)
        [c.close() for c in deaf]

    def test_one_who_asks_for_much(self):
        """A request for many texts has every slot, until somebody else comes: they wait for one of its texts, not for all."""
        much = self.begun(dict(ENDLESS, n=16, n_predict=60))
        self.assertTrue(until(10, lambda: self.server.busy() == SLOTS))
        before = self.server.metric("requests_deferred")
        self.assertEqual(self.probe(), self.answer)
        self.assertGreater(self.server.metric("requests_deferred"), before / 2)
        much.close()

    def test_time_counts_for_clients_alone(self):
        """--timeout ends no answer, however long it takes, streamed or not, while its client takes it."""
        whole = dict(ENDLESS, n_predict=CTX // 2, n=SLOTS)
        begun, seen = time.time(), 0
        with self.server.raw(self.server.request_bytes("/completion", whole), 100) as streamed:
            document = self.server.post("/completion", dict(whole, stream=False)).json()
            events = streamed.makefile("rb")
            while seen < SLOTS:
                seen += events.readline().count(b'"stop_type":"limit"')
        self.assertEqual([d["stop_type"] for d in document], ["limit"] * SLOTS)
        self.assertGreater(time.time() - begun, TIMEOUT)
        idle = self.server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertIn(b"200 OK", idle.recv(1000))
        begun = time.time()
        idle.settimeout(5 * TIMEOUT)
        self.assertEqual(idle.recv(100), b"")  # kept for the next request, and not for ever
        self.assertGreater(time.time() - begun, TIMEOUT * 0.8)
        idle.close()


class Crowds(Calm):
    timeout = 30

    def test_those_who_only_hold_connections_give_way(self):
        held = [self.server.raw(b"" if i % 2 else HEAD) for i in range(CONNECTIONS)]
        begun = time.time()
        for _ in range(4):
            self.assertEqual(self.probe(), self.answer)
        self.assertLess(time.time() - begun, self.timeout - 5)  # they were not cut off for their time
        more = [self.server.raw(b"") for _ in range(5 * CONNECTIONS)]
        self.assertTrue(until(10, lambda: self.works(lambda: self.server.get("/health").code == 200)))
        [c.close() for c in held + more]

    def test_when_all_wait_for_answers(self):
        waiting = [self.begun(ENDLESS)]

        def full():
            waiting.append(self.server.raw(self.server.request_bytes("/completion", ENDLESS)))
            return self.server.get("/slots").code == 503
        self.assertTrue(until(30, lambda: self.works(full)))
        self.assertEqual(self.server.get("/health").code, 200)
        self.assertEqual(self.server.post("/completion", PROBE).code, 503)
        self.assertIn("no more are taken", self.server.get("/slots").json()["error"]["message"])
        idle = self.server.raw(b"")  # one beyond the limit makes room for nobody
        self.assertEqual(self.server.post("/completion", PROBE).code, 503)
        kept, sockets = self.server.raw(self.ask("/health")), self.server.sockets()
        self.assertEqual(codes(kept.recv(1000)), [200])
        [c.close() for c in waiting]
        self.assertTrue(until(20, lambda: self.server.sockets() < sockets - CONNECTIONS // 2))
        kept.sendall(self.ask("/slots"))  # on the connection that was beyond the limit when it began
        self.assertEqual(codes(kept.recv(1000)), [200])
        [c.close() for c in (idle, kept)]
        self.assertTrue(until(20, lambda: self.works(lambda: self.server.get("/slots").code == 200)))

    @staticmethod
    def ask(path):
        return b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode()

    @staticmethod
    def works(call):
        try:
            return call()
        except OSError:
            return False

    def test_random_weather(self):
        """All of it at once, and in the midst those who only want their answers."""
        wrong, right, ends = [], [], time.time() + 4

        def honest():
            while time.time() < ends:
                try:
                    answer = self.server.post("/v1/completions", PROBE)
                except OSError:
                    continue  # turned away, or cut off by the crowd
                text = answer.json()["choices"][0]["text"] if answer.code == 200 else answer.code
                if text == self.answer:
                    right.append(text)
                elif text != 503:
                    wrong.append(text)

        def hostile(i):
            whole = self.server.request_bytes("/completion", dict(ENDLESS, prompt="# %d" % i, n_probs=i))
            while time.time() < ends:
                try:
                    with self.server.raw(whole[:None if i % 3 else 50]) as connection:
                        connection.settimeout(0.1)
                        connection.recv(300)
                except OSError:
                    pass
        threads = [threading.Thread(target=honest) for _ in range(4)] + [threading.Thread(target=hostile, args=(i,)) for i in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(wrong, [])
        self.assertGreater(len(right), 0)


class Watchers(Calm):
    timeout = 600  # or it were cut off

    def test_one_that_is_too_slow_loses_events(self):
        """It is told how many, and what it gets is whole."""
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((self.server.host, self.server.port))
        slow.sendall(b"GET /experts HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += slow.recv(1)
        n, got, tries = 0, b"", 0
        while n < 1500:
            n += self.feed(CTX - 8)
        slow.settimeout(0.3)
        while tries < 20 and (self.count(got)[1] == 0 or sum(self.count(got)) < n):
            try:
                while True:
                    got += slow.recv(1 << 16) or self.fail("the end of the stream")
            except socket.timeout:
                tries += 1
                n += 0 if self.count(got)[1] else self.feed(1)  # what was lost is told before the next event
        slow.close()
        seen, lost = self.count(got)
        self.assertEqual(seen + lost, n)
        self.assertGreater(seen, 100)

    def feed(self, n):
        """That many tokens to be seen."""
        return self.server.post("/completion", {"prompt": [9] * n, "n_predict": 0, "cache_prompt": False}).json()["tokens_evaluated"]

    @staticmethod
    def count(answer):
        """The tokens that the stream so far has, and those that it says are lost."""
        whole = b""
        while b"\r\n" in answer:
            size, answer = answer.split(b"\r\n", 1)
            whole += answer[:int(size, 16)]
            answer = answer[int(size, 16) + 2:]
        events = [json.loads(block[6:]) for block in whole.split(b"\n\n")[:-1] if block.startswith(b"data:")]
        return sum("experts" in e for e in events), sum(e.get("dropped", 0) for e in events)


class Ends(cli.Case):
    def test_termination_with_everything_under_way(self):
        """Streams are told, and the program is gone within seconds, whatever clients do."""
        with Server("-c", 2048, "-np", 2, "-b", 64) as server:
            streams = [server.raw(server.request_bytes("/v1/completions", dict(ENDLESS, max_tokens=-1))) for _ in range(2)]
            for connection in streams:
                self.assertIn(b"data:", Calm.until_data(connection))
            others = [server.raw(b"GET /experts HTTP/1.1\r\nHost: localhost\r\n\r\n"), server.raw(HEAD), server.raw(b""),
                      server.raw(server.request_bytes("/completion", dict(ENDLESS, stream=False)))]
            self.assertTrue(until(20, lambda: server.metric("requests_deferred") == 1))
            begun = time.time()
            code, err = server.end()
            self.assertEqual(code, 0, err)
            self.assertLess(time.time() - begun, 10)
            for connection in streams + others[3:]:
                self.assertIn(b"the server is ending", connection.makefile("rb").read())
            self.assertTrue(others[0].makefile("rb").read().endswith(b"0\r\n\r\n"))
            [c.close() for c in streams + others]


if __name__ == "__main__":
    cli.main()
