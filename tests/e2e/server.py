"""A `seamount serve` of its own for tests, and a client of a few lines. Python's standard library only."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time

import cli

MODEL = os.path.join(os.path.dirname(cli.DATA), os.pardir, "assets", "seamount-coder.gguf")


class Answer:
    def __init__(self, response):
        self.code, self.headers, self.body = response.status, response.headers, response.read()

    def json(self):
        return json.loads(self.body.decode())

    def events(self):
        """The events of a stream, each a document or the text [DONE]; comments are checked to be comments."""
        blocks = self.body.decode().split("\n\n")
        assert blocks.pop() == "", self.body[-40:]
        lines = [b for b in blocks if not b.startswith(":")]
        assert all(re.match(r"data: [^\n]*$", line) for line in lines), lines
        return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


class Server:
    def __init__(self, *options, wait=True):
        self.process = subprocess.Popen([cli.BIN, "serve", "-m", MODEL, "--port", "0", *map(str, options)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=cli.environment())
        line = self.process.stdout.readline().decode().strip()
        match = re.match(r"http://(127\.0\.0\.1):(\d+)$", line)
        if not match:
            raise RuntimeError("no address: %r %s" % (line, self.process.communicate()[1].decode(errors="replace")))
        self.host, self.port = match.group(1), int(match.group(2))
        if wait:
            self.wait()

    def wait(self):
        until = time.time() + 240
        while self.get("/health").code != 200:
            assert time.time() < until and self.process.poll() is None, "the server does not get ready"
            time.sleep(0.05)
        return self

    def call(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=240)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.call("GET", path, **more)

    def post(self, path, body, **more):
        return self.call("POST", path, body, **more)

    def raw(self, data, timeout=30):
        """A connection on which these bytes were sent."""
        connection = socket.create_connection((self.host, self.port), timeout)
        connection.sendall(data)
        return connection

    def request_bytes(self, path, body):
        data = json.dumps(body).encode()
        return b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(data)) + data

    def busy(self):
        return sum(slot["is_processing"] for slot in self.get("/slots").json())

    def metric(self, name):
        return float(re.search(r"^seamount:%s (\S+)$" % name, self.get("/metrics").body.decode(), re.M).group(1))

    def sockets(self):
        """How many it has, listening ones included."""
        folder = "/proc/%d/fd" % self.process.pid
        return sum(self.leads_to(os.path.join(folder, name)).startswith("socket:") for name in os.listdir(folder))

    @staticmethod
    def leads_to(link):
        try:
            return os.readlink(link)
        except OSError:  # closed meanwhile
            return ""

    def resident(self):
        """Kilobytes of memory."""
        with open("/proc/%d/status" % self.process.pid) as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

    def end(self, number=signal.SIGTERM):
        """The exit status, and what stood on stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, err.decode(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end()
        self.process.stdout.close()
        self.process.stderr.close()


def until(seconds, condition):
    """Whether the condition came true in this time."""
    end = time.time() + seconds
    while time.time() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False
