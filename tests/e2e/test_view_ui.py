#!/usr/bin/env python3
"""seamount-view in a window: mouse and keyboard on a screen of its own (Xvfb, xdotool), what is seen compared with pictures that the
same program makes without a screen, and with the trace. Skipped where the two programs are not installed."""
import time

import cli
import view
import view_window
from view import light

SIZE = "960x600"


class Ui(view_window.Case):
    def open(self, *args):
        return self.window("--window", SIZE, *args)

    def still(self, path, token, *more):
        return self.shot("--replay", path, "--at", token, "--frames", 1, "--window", SIZE, *more)

    def assertSameCells(self, trace, a, b):
        for layer in trace["layers"]:
            for e in range(trace["n_experts"]):
                self.assertEqual(a.cell(layer["layer"], e), b.cell(layer["layer"], e), (layer["layer"], e))

    def assertSamePicture(self, a, b, rows=slice(60, 560)):
        self.assertTrue(a.rows[rows] == b.rows[rows], "pictures differ")

    def assertSeen(self, window, shot, rows=slice(60, 560)):
        """The screen shows the picture; the mouse must be elsewhere."""
        for _ in range(50):
            if window.seen()[rows] == shot.rows[rows]:
                return
            window.settle()
        self.fail("the screen shows something else")

    def middle(self, shot, layer, expert):
        x, y, w, h = shot.rect(layer, expert)
        return x + w // 2, y + h // 2

    def test_steps(self):
        path, trace = self.trace("v2-lite", 40)
        window = self.open("--replay", path, "--paused")
        stills = {t: self.still(path, t) for t in (3, 39)}
        for keys, token in [(["Right"] * 3, 3), (["shift+Right"], 13), (["Left"], 12), (["End"], 39), (["Home"], 0), (["Left"], 0)]:
            window.key(*keys)
            shot = window.shot(stills[3].where)
            self.assertEqual(shot.token, token, keys)
            if token in stills:
                self.assertSameCells(trace, shot, stills[token])
            self.assertSeen(window, shot)
        window.tool("windowunmap", "--sync", window.id)
        window.tool("windowmap", "--sync", window.id)
        self.assertSeen(window, shot)
        self.assertEqual(window.close(), 0)

    def until(self, window, token):
        """The token it stands at, once that is this one or a later one."""
        for _ in range(100):
            now = window.shot().token
            if now >= token:
                return now
        raise AssertionError("still at token %d" % now)

    def test_plays_and_pauses(self):
        path, _ = self.trace("v2-lite", 2000)
        window = self.open("--replay", path, "--speed", 20, "--at", 100)
        self.assertLess(self.until(window, 110), 1000)
        window.key("space")
        paused = window.shot().token
        time.sleep(0.5)
        self.assertEqual(window.shot().token, paused)
        window.key("Up", "Up", "Up", "space")
        started = time.monotonic()
        faster = self.until(window, paused + 100)
        self.assertGreater((faster - paused) / (time.monotonic() - started), 40)  # 160 tokens a second

    def test_timeline(self):
        path, _ = self.trace("v2-lite", 2000)
        window = self.open("--replay", path, "--paused")
        x, y, w, h = self.still(path, 0).where["regions"]["track"]
        window.click(x + w // 2, y + h // 2)
        self.assertLess(abs(window.shot().token - 1000), 5)
        window.drag(x + w // 2, y + h // 2, x + w // 4, y + h // 2)
        self.assertLess(abs(window.shot().token - 500), 5)

    def test_click_an_expert(self):
        path, _ = self.trace("v2-lite", 40)
        window, still = self.open("--replay", path, "--paused"), self.still(path, 0)
        before = window.shot(still.where)
        x, y = self.middle(still, 5, 20)
        window.click(x, y)
        window.move(2, 2)
        chosen = window.shot(still.where)
        left, top, w, h = still.rect(5, 20)
        frame = {chosen.at(u, v) for u in (left - 1, left + w) for v in range(top, top + h)}
        self.assertEqual(frame, {still.accent()})
        self.assertFalse(chosen.rows[500:] == before.rows[500:])  # the card
        window.key("Escape")
        self.assertSamePicture(window.shot(), before)

    def test_card_in_a_narrow_window(self):
        path, _ = self.trace("v2-lite", 40)
        window, still = self.window("--window", "700x500", "--replay", path, "--paused"), self.shot(
            "--replay", path, "--frames", 1, "--window", "700x500")
        self.assertEqual(still.where["regions"]["side"][2], 0)
        before = window.shot(still.where)
        window.click(*self.middle(still, 5, 20))
        window.move(2, 2)
        chosen = window.shot(still.where)
        x, y, w, h = still.where["regions"]["text"]
        self.assertEqual(len({chosen.at(x + w - 1, v) for v in range(y, y + h)}), 1)  # the card's border
        self.assertNotEqual(chosen.at(x + w - 1, y + h // 2), before.at(x + w - 1, y + h // 2))
        window.click(x + w - 40, y + 34)  # no token is behind it
        window.move(2, 2)
        self.assertSamePicture(window.shot(), chosen, slice(60, 440))
        window.key("Escape")
        self.assertSamePicture(window.shot(), before, slice(60, 440))

    def test_card_over_three_grids(self):
        path, _ = self.trace("v2-lite", 40)
        call = ["--window", "700x500", "--replay", path, "--compare", path]
        window, still = self.window("--paused", *call), self.shot("--frames", 1, *call)
        where = still.where["regions"]
        self.assertEqual((where["side"][2], where["text"][3]), (0, 0))
        before = window.shot(still.where)
        window.click(*self.middle(still, 5, 3))
        window.move(2, 2)
        chosen = window.shot(still.where)
        x, y, w, h = where["grid"]
        edge = [(x + w - 1, v) for v in range(y + h // 2, y + h)]
        self.assertEqual(len({chosen.at(*point) for point in edge}), 1)  # the card's border
        self.assertNotEqual(chosen.at(*edge[-1]), before.at(*edge[-1]))
        window.click(x + w - 60, y + h - 40)  # no expert is behind it
        window.move(2, 2)
        self.assertSamePicture(window.shot(), chosen, slice(60, 440))
        window.key("Escape")
        self.assertSamePicture(window.shot(), before, slice(60, 440))

    def test_hover_over_a_gauge(self):
        path, _ = self.trace("v2-lite", 40)
        window, still = self.open("--replay", path, "--paused"), self.still(path, 0)
        before = window.shot(still.where)
        x, y, w, h = still.where["panes"][0]["gauges"]
        window.move(x + 5, still.rect(5, 0)[1] + 1)
        over = window.shot(still.where)
        self.assertFalse(over.rows[y:y + h] == before.rows[y:y + h])
        window.move(2, 2)
        self.assertSamePicture(window.shot(), before)

    def test_hover(self):
        path, _ = self.trace("v2-lite", 40)
        window, still = self.open("--replay", path, "--paused"), self.still(path, 0)
        before = window.shot(still.where)
        x, y = self.middle(still, 3, 30)
        window.move(x, y)
        over = window.shot(still.where)
        left, top, w, h = still.rect(3, 30)
        self.assertGreater(light(over.at(left - 1, top + h // 2)), 200)  # the frame
        self.assertNotEqual(over.at(x + 30, y + 30), before.at(x + 30, y + 30))  # the bubble
        window.move(2, 2)
        self.assertSamePicture(window.shot(), before)

    def test_click_a_token(self):
        path, trace = self.trace("v2-lite", 40)
        window, still = self.open("--replay", path, "--paused"), self.still(path, 39)
        window.key("End")
        x, y, w, h = still.where["regions"]["text"]
        window.click(x + 30, y + 34)
        window.move(2, 2)
        shot = window.shot(still.where)
        shown = [t for t in range(40) if self.shows(shot, trace, t)]
        self.assertEqual(len(shown), 1, shown)
        self.assertLess(shown[0], 39)
        self.assertEqual(shot.token, 39)
        window.key("Escape")
        self.assertSameCells(trace, window.shot(still.where), still)

    def shows(self, shot, trace, token):
        """Whether those cells, and no others, are bright that the token uses: a selected token has no afterglow. A cell is as bright as
        its darkest point of five, for the token's path lies over some."""
        def look(layer, e):
            x, y, w, h = shot.rect(layer, e)
            points = [(u, v) for u in (x, x + w - 1) for v in (y, y + h - 1)] + [(x + w // 2, y + h // 2)]
            return min(light(shot.at(*point)) for point in points)

        for l, layer in enumerate(trace["layers"]):
            for place in set(layer["places"]):
                mine = [e for e in range(trace["n_experts"]) if layer["places"][e] == place]
                ids = [e for e in trace["tokens"][token]["experts"][l] if e in mine]
                if ids and min(look(layer["layer"], e) for e in ids) <= max(look(layer["layer"], e) for e in mine if e not in ids):
                    return False
        return True

    def test_zoom_and_pan(self):
        path, trace = self.trace("v2-lite", 40)
        window, still = self.open("--replay", path, "--paused"), self.still(path, 0)
        layer, expert = trace["layers"][9]["layer"], trace["tokens"][0]["experts"][9][0]
        x, y = self.middle(still, layer, expert)
        before = window.shot(still.where)
        colour = before.cell(layer, expert)

        def around(shot, u, v):
            """How much of a square around a point has the cell's colour; there is a number in it too."""
            return sum(shot.at(u + a, v + b) == colour for a in range(-8, 9) for b in range(-8, 9))

        for _ in range(6):
            window.click(x, y, 4)
        window.move(2, 2)
        near = window.shot(still.where)
        self.assertLess(around(before, x, y), 100)
        self.assertGreater(around(near, x, y), 150)
        window.drag(x, y, x + 60, y + 40)
        window.move(2, 2)
        moved = window.shot(still.where)
        self.assertGreater(around(moved, x + 60, y + 40), 150)
        self.assertLess(around(moved, x, y), 100)
        window.key("0")
        self.assertSamePicture(window.shot(), before)

    def test_looks(self):
        path, trace = self.trace("v2-lite", 40)
        window, still = self.open("--replay", path, "--paused"), self.still(path, 0)
        for key, options in [("m", ["--load-map"]), ("t", ["--load-map", "--light"]), ("b", ["--load-map", "--light", "--safe-colours"]),
                             ("m", ["--light", "--safe-colours"])]:
            window.key(key)
            self.assertSameCells(trace, window.shot(still.where), self.still(path, 0, *options))

    def test_sessions(self):
        path, trace = self.trace("served", 40)
        window = self.open("--replay", path, "--paused")
        window.key("End")
        for session in (0, 1, 2, None):
            window.key("f")
            mine = [t for t in trace["tokens"] if session in (None, t["session"])]
            window.key("End")
            shot = window.shot(self.still(path, 0, *(["--session", session] if session is not None else [])).where)
            self.assertEqual(shot.token, len(mine) - 1, session)
        self.assertEqual(shot.token, 39)

    def test_help(self):
        path, _ = self.trace("tiny", 12)
        window = self.open("--replay", path, "--paused")
        before = window.shot()
        window.key("h")
        helping = window.shot()
        self.assertFalse(helping.rows[280:320] == before.rows[280:320])
        window.key("Escape")
        self.assertSamePicture(window.shot(), before)

    def test_resize(self):
        path, _ = self.trace("tiny", 12)
        window = self.open("--replay", path, "--paused")
        window.tool("windowsize", "--sync", window.id, 1100, 500)
        for _ in range(20):
            shot = window.shot()
            if (shot.width, shot.height) == (1100, 500):
                break
        self.assertEqual((shot.width, shot.height), (1100, 500))
        plain = self.shot("--replay", path, "--frames", 1, "--window", "1100x500")
        self.assertSamePicture(shot, plain, slice(60, 440))
        self.assertSeen(window, shot, slice(60, 440))

    def test_csv(self):
        path, trace = self.trace("v2-lite", 40)
        window = self.open("--replay", path, "--paused")
        window.key("End")
        with open(window.saved("c", "*.csv")) as f:
            self.assertEqual(len(f.readlines()), 1 + len(trace["layers"]) * trace["n_experts"])


if __name__ == "__main__":
    view_window.need()
    cli.main()
