"""The page at / of `seamount serve` in a browser without a screen: what is typed is answered, and the experts of the answer light up. The
browser is spoken to through its own debugging pipe, so that nothing but Python's standard library is needed."""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
import unittest

import cli
from server import Server

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page. Messages are JSON documents that end with a NUL, on file descriptors 3 and 4 of the browser."""

    def __init__(self, folder):
        to_read, self.to = os.pipe()
        self.from_, to_write = os.pipe()
        environment = {k: v for k, v in os.environ.items() if k != "VK_ICD_FILENAMES"}

        def connect():
            read, write = os.dup(to_read), os.dup(to_write)  # neither number is in the way of the other
            os.dup2(read, 3)
            os.dup2(write, 4)

        self.process = subprocess.Popen([BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe",
                                         "--window-size=1100,700", "--user-data-dir=" + folder], preexec_fn=connect, pass_fds=(3, 4),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        os.close(to_read)
        os.close(to_write)
        self.rest, self.number, self.session = b"", 0, None

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        until = time.time() + 60
        while True:
            while b"\0" in self.rest:
                text, self.rest = self.rest.split(b"\0", 1)
                answer = json.loads(text)
                if answer.get("id") == self.number:
                    assert "error" not in answer, answer
                    return answer["result"]
            assert select.select([self.from_], [], [], max(0, until - time.time()))[0], "the browser does not answer"
            self.rest += os.read(self.from_, 1 << 16)

    def open(self, url):
        target = self.call("Target.createTarget", url=url)["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, seconds, script):
        end = time.time() + seconds
        while time.time() < end:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError("not in %g s: %s; the page says %r" % (seconds, script, self.run("document.body.innerText")))

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.from_)


def setUpModule():
    if not BROWSER:
        raise unittest.SkipTest("no browser")
    if "VK_ICD_FILENAMES" not in cli.environment() and not cli.call("devices", "--json").json()["devices"]:
        raise unittest.SkipTest("no Vulkan device")


class Page(cli.Case):
    def test_a_text_and_its_experts(self):
        with Server("-c", 256, "-np", 1) as server, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            browser = Browser(folder)
            try:
                self.watch(browser, "http://%s:%d/" % (server.host, server.port))
            finally:
                browser.close()
            self.assertEqual(server.end()[0], 0)

    def watch(self, browser, url):
        browser.open(url)
        browser.until(90, "document.querySelector('#model')?.textContent === 'seamount-coder'")
        browser.until(90, "canvas.width === 32 && canvas.height === 4")
        dark = browser.run("[...canvas.getContext('2d').getImageData(0, 0, 32, 4).data].join()")
        browser.run("form.chat.checked = false, form.text.value = 'def add(a, b):', form.requestSubmit()")
        browser.until(90, "!running && heat.tokens > 20 && talk.textContent.length > 60")
        text = browser.run("talk.textContent")
        self.assertTrue(text.startswith("def add(a, b):"), text)
        self.assertIsNone(browser.run("document.querySelector('.error')"))
        lit = browser.run("[...canvas.getContext('2d').getImageData(0, 0, 32, 4).data].join()")
        self.assertNotEqual(lit, dark)
        self.assertEqual(browser.run("heat.glow.filter((glow) => glow > 0.4).length >= 4 * 6 * 0.5"), True)
        self.think(browser)
        path = os.environ.get("SMT_TEST_PICTURE")
        if path:
            with open(path, "wb") as f:
                f.write(base64.b64decode(browser.call("Page.captureScreenshot")["data"]))

    def think(self, browser):
        """What comes as a thought lies folded in front of the answer, and goes back beside it. The model has none: its events are made up."""
        deltas = [{"role": "assistant", "content": "", "reasoning_content": None}, {"content": None, "reasoning_content": "Two and"},
                  {"content": None, "reasoning_content": " two."}, {"content": "Four", "reasoning_content": None}]

        def answer(deltas):
            events = "".join("data: %s\n\n" % json.dumps({"choices": [{"delta": delta}]}) for delta in deltas)
            browser.run("window.call = async () => new Response(%s)" % json.dumps(events))
        answer(deltas)
        browser.run("form.chat.checked = true, form.text.value = '2 + 2?', form.requestSubmit()")
        browser.until(30, "!running && messages.length === 2")
        self.assertEqual(browser.run("messages[1]"), {"role": "assistant", "content": "Four", "reasoning_content": "Two and two."})
        self.assertEqual(browser.run("[...document.querySelector('details').children].map((part) => part.textContent)"), ["thought", "Two and two."])
        self.assertEqual(browser.run("[document.querySelector('details').open, document.querySelector('details').nextSibling.textContent]"), [False, "Four"])
        self.assertIsNone(browser.run("document.querySelector('.error')"))
        answer(deltas[:3])  # ends within the thought
        browser.run("form.text.value = 'And again?', form.requestSubmit()")
        browser.until(30, "!running && messages.length === 4")
        self.assertEqual(browser.run("[messages[3].content, [...document.querySelectorAll('summary')].map((part) => part.textContent)]"),
                         ["", ["thought", "thought"]])


if __name__ == "__main__":
    cli.main()
