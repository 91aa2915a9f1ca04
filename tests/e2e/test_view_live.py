#!/usr/bin/env python3
"""seamount-view at a running model, without a screen: what it shows and records against what `seamount eval` says of the same tokens."""
import json
import os
import subprocess
import time
import unittest

import cli
import view
import view_window

SEAMOUNT = os.environ["SMT_TEST_SEAMOUNT"]
PROMPT = "def __init__(self"


def seamount(*args, stdin=b""):
    return subprocess.run([SEAMOUNT, *map(str, args)], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True,
                          env=cli.environment()).stdout


class Live(view.Case):
    def test_recorded_is_what_eval_says(self):
        recorded, out = self.path("live.trace"), self.path("live.csv")
        shot = self.shot("-p", PROMPT, "-n", 12, "--temp", 0, "--record", recorded, "--csv", out, "--window", "960x600")
        trace = self.dump(recorded)
        ids = [t["id"] for t in trace["tokens"]]
        prompt = json.loads(seamount("tokenize", "--bos", stdin=json.dumps(PROMPT).encode() + b"\n"))
        self.assertEqual(ids[:len(prompt)], prompt)
        self.assertTrue(len(prompt) < len(ids) <= len(prompt) + 12)
        self.assertEqual(shot.where["tokens"], len(ids))
        report, devices = (json.loads(seamount(*args, "--json")) for args in (["trace", "report", recorded], ["devices", "-dev", "vk0"]))
        self.assertEqual(report["devices"], [devices[0]["name"]])  # the same width of vectors, on Mesa's software driver
        routing = self.path("routing.json")
        seamount("eval", "--tokens", ",".join(map(str, ids)), "--routing", routing)
        with open(routing) as f:
            truth = json.load(f)
        self.assertEqual([l["layer"] for l in truth], [l["layer"] for l in trace["layers"]])
        for l, layer in enumerate(truth):
            for t in range(len(ids)):
                self.assertEqual(layer["experts"][t], trace["tokens"][t]["experts"][l], (l, t))
            last = layer["experts"][len(ids) - 1]
            dimmest = min(view.light(shot.cell(layer["layer"], e)) for e in last)
            for e in set(range(trace["n_experts"])) - set(last):
                self.assertLess(view.light(shot.cell(layer["layer"], e)), dimmest, (layer["layer"], e))
        again = self.shot("--replay", recorded, "--at", len(ids) - 1, "--frames", 1, "--window", "960x600")
        for layer in trace["layers"]:
            self.assertEqual([shot.cell(layer["layer"], e) for e in range(trace["n_experts"])],
                             [again.cell(layer["layer"], e) for e in range(trace["n_experts"])])

    def test_hops_between_two_devices(self):
        recorded = self.path("split.trace")
        shot = self.shot("-dev", "vk0,vk0", "-p", PROMPT, "-n", 6, "--temp", 0, "--record", recorded, "--window", "960x600")
        trace = self.dump(recorded)
        last, hops = trace["tokens"][-1], list(shot.hop_bars())
        self.assertEqual(len(hops), 1)
        hop, _, share = hops[0]
        self.assertEqual(hop["device"], 1)
        self.assertTrue(last["hop_bytes"][0] == 0 < last["hop_bytes"][1])
        self.assertAlmostEqual(share, last["hop_s"][1] / last["step_s"], delta=2.5 / hop["strip"][2])

    def test_experts_on_two_devices(self):
        recorded = self.path("shares.trace")
        self.shot("-dev", "vk0,vk0", "-sm", "expert", "-ts", "3,1", "-p", PROMPT, "-n", 0, "--record", recorded, "--window", "960x600")
        trace = self.dump(recorded)
        for layer in trace["layers"]:
            first = trace["n_experts"] * 3 // 4
            self.assertEqual([place == layer["places"][0] for place in layer["places"]],
                             [True] * first + [False] * (trace["n_experts"] - first), layer["layer"])

    def test_heaps_hold_what_was_planned(self):
        shot = self.shot("-p", PROMPT, "-n", 1, "-c", 512)
        plan = json.loads(seamount("plan", "-c", 512, "--json"))
        planned = [heap["planned"] for device in plan["devices"] for heap in device["heaps"]]
        self.assertTrue(shot.where["heaps"])
        self.assertEqual([held for held, used, budget in shot.where["heaps"]], [bytes_ for bytes_ in planned if bytes_])
        for held, used, budget in shot.where["heaps"]:
            self.assertTrue(0 < held < budget and (used == 0 or used >= held), (held, used, budget))

    def test_frames_end_the_run(self):
        shot = self.shot("-p", PROMPT, "-n", -1, "-s", 1, "--frames", 20)
        self.assertEqual(shot.where["token"], 19)

    def test_chat(self):
        shot = self.shot("--chat", "-p", "hello", "-n", 4, "--temp", 0, "-v")
        self.assertGreater(shot.where["tokens"], 4)
        self.assertRegex(shot.err, r"(?m)^answer: [1-4] tokens, \d+\.\d tokens/s$")
        x, y, w, h = shot.where["regions"]["text"]
        current = next(line for line in range(y, y + h) if any(shot.at(i, line) == shot.accent() for i in range(x, x + w)))
        self.assertGreater(current - y, 26 + 14)  # below the title and the words that were answered

    def test_failures(self):
        self.bad(1, "missing.gguf", "-m", self.path("missing.gguf"), "-p", "x", "--screenshot", self.path("no.png"))
        self.bad(2, "no-such-device", "-dev", "no-such-device", "-p", "x", "--screenshot", self.path("no.png"))
        self.bad(1, "do not fit", "-c", 4, "-p", PROMPT + " " + PROMPT, "--screenshot", self.path("some.png"))


@unittest.skipUnless(view_window.is_there(), "Xvfb and xdotool are needed (tools/deps.sh --tests)")
class Talk(view_window.Case):
    def tokens(self, window, more_than):
        """How many tokens there are once the model waits again, and has written some."""
        for _ in range(300):
            window.key("End")
            now = window.shot().token + 1
            if now > more_than and window.tool("getwindowname", window.id).strip() == "seamount-view: waiting":
                window.key("End")
                return window.shot().token + 1
            time.sleep(0.2)
        raise AssertionError("no more than %d tokens" % now)

    def say(self, window, words):
        window.key("Return")
        window.tool("type", words)
        window.settle()

    def test_conversation(self):
        window = self.window("--chat", "-n", 6, "--temp", 0, "--window", "700x500", "--record", self.path("talk.trace"))
        self.say(window, "hello")
        window.key("Return")
        first = self.tokens(window, 1)
        self.say(window, "not this")
        window.key("Escape")
        self.say(window, "more")
        window.key("Return")
        second = self.tokens(window, first)
        self.assertEqual(window.close(), 0)
        recorded = self.dump(self.path("talk.trace"))["tokens"]
        self.assertEqual(len(recorded), second)
        self.assertEqual([t["index"] for t in recorded[:first]], list(range(first)))
        self.assertTrue(0 < recorded[first]["index"] <= first)  # it goes on from the first turn, and not from the beginning

    def test_text_goes_on(self):
        window = self.window("-p", "def get", "-n", 5, "--temp", 0, "--window", "700x500")
        first = self.tokens(window, 1)
        self.say(window, "return")
        window.key("BackSpace", "Return")
        self.assertGreater(self.tokens(window, first), first + 5)


if __name__ == "__main__":
    cli.main()
