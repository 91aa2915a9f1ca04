#!/usr/bin/env python3
"""seamount-view without a screen, on traces: sizes of regions, and colours of cells against what the trace holds."""
import csv
import json
import os
import sys

import cli
import view
from view import light

SMALL = ["--window", "960x600"]


class Picture(view.Case):
    def layers(self, trace):
        return list(enumerate(trace["layers"]))

    def test_regions_fill_the_picture(self):
        path, _ = self.trace("tiny", 12)
        for size, scale in [("960x600", 1), ("480x360", 1), ("1400x500", 1), ("640x400", 2)]:
            shot = self.shot("--replay", path, "--frames", 1, "--window", size, "--scale", scale)
            width, height = (int(n) * scale for n in size.split("x"))
            self.assertEqual((shot.width, shot.height), (width, height))
            self.assertEqual(shot.where["size"], [width, height])
            rects = [r for name, r in shot.where["regions"].items() if name != "track" and r[2] > 0]
            self.assertEqual(sum(w * h for x, y, w, h in rects), width * height, size)
            for x, y, w, h in rects:
                self.assertTrue(0 <= x and 0 <= y and x + w <= width and y + h <= height, (size, x, y, w, h))

    def test_large_windows_have_large_cells(self):
        path, _ = self.trace("tiny", 12)
        small, large = (self.shot("--replay", path, "--frames", 1, "--window", size).where for size in ("960x600", "2560x1440"))
        self.assertGreater(large["panes"][0]["pitch"][0], 34)
        self.assertGreater(large["panes"][0]["pitch"][1], 60)
        for where in (small, large):
            (x, y, w, h), text = where["regions"]["grid"], where["regions"]["text"]
            self.assertLessEqual(w * h, 2 * text[2] * text[3])  # but the text keeps its room

    def test_words_go_before_hints(self):
        path, _ = self.trace("tiny", 12)
        lines = []
        for size in ("360x360", "960x360"):
            shot = self.shot("--replay", path, "--frames", 1, "--window", size)
            x, y, w, h = shot.where["regions"]["status"]
            lines.append([row[3 * x:3 * (x + 120)] for row in shot.rows[y:y + h]])
        self.assertEqual(lines[0], lines[1])

    def test_scale_doubles_everything(self):
        path, _ = self.trace("tiny", 12)
        one = self.shot("--replay", path, "--frames", 1, *SMALL).where["regions"]
        two = self.shot("--replay", path, "--frames", 1, "--scale", 2, *SMALL).where["regions"]
        for name in one:
            for a, b in zip(one[name], two[name]):
                self.assertLessEqual(abs(2 * a - b), 2, name)

    def chosen_and_idle(self, shot, trace, token, pane=0):
        """Checks each layer's cells against the token: chosen ones are the brightest, by weight; untouched ones look alike."""
        used = trace["n_used"]
        for l, layer in self.layers(trace):
            ids, weights = trace["tokens"][token]["experts"][l], trace["tokens"][token]["weights"][l]
            recent = {e for t in trace["tokens"][max(0, token - 12):token] for e in t["experts"][l]}
            for place in set(layer["places"]):
                mine = [e for e in range(trace["n_experts"]) if layer["places"][e] == place]
                looks = {e: light(shot.cell(layer["layer"], e, pane)) for e in mine}
                bright = sorted((e for e in mine if e in ids), key=lambda e: weights[ids.index(e)])
                for a, b in zip(bright, bright[1:]):
                    self.assertLessEqual(looks[a], looks[b] + 1, (layer["layer"], a, b))
                glowing = [looks[e] for e in mine if e in recent and e not in ids]
                idle = [looks[e] for e in mine if e not in recent and e not in ids]
                if idle:
                    self.assertLess(max(idle) - min(idle), 3)
                for level in glowing:
                    self.assertTrue(not idle or level >= min(idle))
                if bright and glowing + idle:
                    self.assertGreater(min(looks[e] for e in bright), max(glowing + idle) + 5, layer["layer"])
        self.assertEqual(len(ids), used)

    def test_cells_show_the_token(self):
        for shape, tokens in [("tiny", 20), ("v2-lite", 40), ("v3", 24)]:
            path, trace = self.trace(shape, tokens)
            for token in (0, tokens - 1):
                size = SMALL if shape != "v3" else ["--window", "1280x800"]
                shot = self.shot("--replay", path, "--at", token, "--frames", 1, *size)
                self.assertEqual((shot.where["token"], shot.where["tokens"]), (token, tokens))
                self.chosen_and_idle(shot, trace, token)

    def test_afterglow_fades(self):
        path, trace = self.trace("v2-lite", 40)
        shot = self.shot("--replay", path, "--at", 30, "--frames", 1, *SMALL)
        ages = {}
        for l, layer in self.layers(trace):
            for e in range(trace["n_experts"]):
                age = next((n for n in range(30) if e in trace["tokens"][30 - n]["experts"][l]), None)
                if layer["places"][e] == 0 and age is not None:
                    ages.setdefault(age, []).append(light(shot.cell(layer["layer"], e)))
        for age in range(1, 5):
            self.assertGreater(min(ages[age]), max(ages[age + 1]), age)

    def test_places_have_colours(self):
        path, trace = self.trace("v2-lite", 40)
        for theme in ([], ["--light"], ["--safe-colours"], ["--light", "--safe-colours"]):
            shot = self.shot("--replay", path, "--frames", 1, *SMALL, *theme)
            idle = {}
            for l, layer in self.layers(trace):
                for e in set(range(trace["n_experts"])) - set(trace["tokens"][0]["experts"][l]):
                    idle.setdefault(layer["places"][e], set()).add(shot.cell(layer["layer"], e))
            self.assertTrue(all(len(colours) == 1 for colours in idle.values()), idle)
            self.assertEqual(len(set.union(*idle.values())), len(idle), theme)

    def test_phases_have_colours(self):
        path, _ = self.trace("v2-lite", 40)
        for theme in ([], ["--light"], ["--safe-colours"], ["--light", "--safe-colours"]):
            shot = self.shot("--replay", path, "--at", 39, "--frames", 1, *SMALL, *theme)
            x, y, w, h = shot.where["regions"]["side"]
            chips = {shot.at(x + 20, v) for v in range(y + 56, y + 122)} - {shot.at(x + 2, y + 2)}
            self.assertEqual(len(chips), 4, theme)

    def test_dense_layers_are_marked(self):
        path, trace = self.trace("v3", 24)
        shot = self.shot("--replay", path, "--frames", 1, "--window", "1280x800")
        dense = {shot.cell(layer, e) for layer in range(3) for e in (0, 77, 255)}
        self.assertEqual(len(dense), 1)
        self.assertNotIn(shot.cell(3, 255), dense)

    def test_groups_are_framed(self):
        path, trace = self.trace("tiny", 20)
        shot = self.shot("--replay", path, "--at", 19, "--frames", 1, *SMALL)
        size = shot.where["panes"][0]["group_size"]
        for l, layer in self.layers(trace):
            used = {e // size for e in trace["tokens"][19]["experts"][l]}
            for group in range(trace["n_experts"] // size):
                x, y, w, h = shot.rect(layer["layer"], group * size)
                framed = shot.at(x - 1, y + h // 2) != shot.at(x - 1, shot.rect(0, 0)[1] - 3)
                self.assertEqual(framed, group in used, (layer["layer"], group))

    def test_load_map(self):
        path, trace = self.trace("v2-lite", 40)
        shot = self.shot("--replay", path, "--at", 39, "--frames", 1, "--load-map", *SMALL)
        for l, layer in self.layers(trace):
            counts = [sum(e in t["experts"][l] for t in trace["tokens"]) for e in range(trace["n_experts"])]
            for place in set(layer["places"]):
                mine = sorted((e for e in range(trace["n_experts"]) if layer["places"][e] == place), key=lambda e: counts[e])
                for a, b in zip(mine, mine[1:]):
                    difference = light(shot.cell(layer["layer"], b)) - light(shot.cell(layer["layer"], a))
                    self.assertGreaterEqual(difference, 0 if counts[a] == counts[b] else 0.5, (layer["layer"], a, b))

    def test_text_marks_the_current_token(self):
        path, _ = self.trace("v2-lite", 40)
        shot = self.shot("--replay", path, "--at", 20, "--frames", 1, *SMALL)
        self.assertGreater(shot.count(shot.accent(), "text"), 60)
        self.assertEqual(shot.count(shot.accent(), "side"), 0)

    def test_the_legend_is_whole(self):
        """Its last line is the same, however many panels are over it."""
        for shape, tokens in [("v2-lite", 40), ("v3", 24), ("split", 60)]:
            path, _ = self.trace(shape, tokens)
            ends = []
            for size in ("1280x1400", "1280x800", "1280x720"):
                shot = self.shot("--replay", path, "--at", 20, "--frames", 1, "--window", size)
                x, y, w, h = shot.where["regions"]["side"]
                rows = [bytes(shot.rows[v][3 * (x + 4):]) for v in range(y, y + h)]
                last = max(v for v, row in enumerate(rows) if row != row[:3] * (len(row) // 3))
                ends.append(rows[last - 60:last + 1])
            self.assertTrue(ends[0] == ends[1] == ends[2], shape)

    def test_light_is_light(self):
        path, _ = self.trace("tiny", 20)
        self.assertLess(light(self.shot("--replay", path, "--frames", 1, *SMALL).at(2, 2)), 40)
        self.assertGreater(light(self.shot("--replay", path, "--frames", 1, "--light", *SMALL).at(2, 2)), 220)

    def test_same_frame_same_picture(self):
        path, _ = self.trace("v2-lite", 40)
        jump = self.shot("--replay", path, "--at", 30, "--frames", 1, *SMALL)
        walk = self.shot("--replay", path, "--frames", 31, *SMALL)
        self.assertTrue(jump.rows == walk.rows, "pictures differ")


class Hops(view.Case):
    """A model whose layers are on three devices; what the host brings to the second takes long in every step but the prompt's."""

    def test_a_slow_hop_is_seen_between_its_layers(self):
        path, trace = self.trace("split", 60)
        devices = [{place // 2 for place in layer["places"]} for layer in trace["layers"]]
        for token, slow, *theme in [(3, []), (40, [1]), (40, [1], "--light"), (3, [], "--safe-colours"),
                                    (40, [1], "--safe-colours", "--light")]:
            shot, now = self.shot("--replay", path, "--at", token, "--frames", 1, *SMALL, *theme), trace["tokens"][token]
            if "--light" not in theme:
                self.chosen_are_bright(shot, trace, token)
            hops = list(shot.hop_bars())
            self.assertEqual([hop["device"] for hop, _, _ in hops], [1, 2])
            for hop, colour, share in hops:
                l = next(l for l, layer in enumerate(trace["layers"]) if layer["layer"] == hop["layer"])
                self.assertEqual((devices[l - 1], devices[l]), ({hop["device"] - 1}, {hop["device"]}))
                above, below = (shot.rect(hop["layer"] - n, 0) for n in (1, 0))
                self.assertTrue(above[1] + above[3] <= hop["strip"][1] < hop["strip"][1] + hop["strip"][3] <= below[1])
                wanted = now["hop_s"][hop["device"]] / now["step_s"]
                self.assertAlmostEqual(share, wanted, delta=2.5 / hop["strip"][2])
                self.assertEqual(self.is_warning(shot, colour), hop["device"] in slow, (token, hop["device"]))

    def is_warning(self, shot, colour):
        """Whether it is the warning's colour over the panel's."""
        slow, panel = bytes.fromhex(shot.where["slow"]), shot.at(*[n + 4 for n in shot.where["regions"]["side"][:2]])
        return all(abs(c - (a * 160 + b * 96) / 256) < 2 for a, b, c in zip(slow, panel, colour))

    def chosen_are_bright(self, shot, trace, token):
        for l, layer in enumerate(trace["layers"]):
            for place in set(layer["places"]):
                looks = [(e in trace["tokens"][token]["experts"][l], light(shot.cell(layer["layer"], e)))
                         for e in range(trace["n_experts"]) if layer["places"][e] == place]
                chosen, others = ([look for is_chosen, look in looks if is_chosen == wanted] for wanted in (True, False))
                self.assertTrue(not chosen or min(chosen) > max(others), layer["layer"])

    def test_its_history_is_at_the_side(self):
        path, _ = self.trace("split", 60)
        counts = {token: (shot := self.shot("--replay", path, "--at", token, "--frames", 1, "--window", "1280x800")).count(
            bytes.fromhex(shot.where["slow"]), "side") for token in (15, 16, 26, 46)}
        column = counts[16] - counts[15]  # full height, as no hop is longer
        self.assertGreater(column, 30)
        self.assertEqual(counts[26] - counts[15], 11 * column)
        self.assertEqual(counts[46] - counts[15], 31 * column)


class Sessions(view.Case):
    def test_one_of_several(self):
        path, trace = self.trace("served", 40)
        for session in (0, 2):
            mine = [t for t in trace["tokens"] if t["session"] == session]
            self.assertTrue(10 < len(mine) < 20)
            shot = self.shot("--replay", path, "--session", session, "--csv", self.path("one.csv"), *SMALL)
            self.assertEqual((shot.where["token"], shot.where["tokens"]), (len(mine) - 1, len(mine)))
            with open(self.path("one.csv"), newline="") as f:
                rows = list(csv.DictReader(f))
            for row in rows:
                l = next(l for l, layer in enumerate(trace["layers"]) if layer["layer"] == int(row["layer"]))
                self.assertEqual(int(row["chosen"]), sum(int(row["expert"]) in t["experts"][l] for t in mine))
            for l, layer in enumerate(trace["layers"]):
                looks = {e: light(shot.cell(layer["layer"], e)) for e in range(trace["n_experts"]) if e % 4 != 3}
                chosen = [e for e in looks if e in mine[-1]["experts"][l]]
                self.assertTrue(not chosen or min(looks[e] for e in chosen) > max(looks[e] for e in looks if e not in chosen))
        self.bad(1, "no tokens of session 7", "--replay", path, "--session", 7, "--screenshot", self.path("no.png"))


class Compare(view.Case):
    def test_difference(self):
        a_path, a = self.trace("v2-lite", 40)
        b_path, b = self.trace("v2-lite", 40, 1.5)
        shot = self.shot("--replay", a_path, "--compare", b_path, "--at", 39, "--frames", 1, *SMALL)
        self.assertEqual(len(shot.where["panes"]), 3)
        for l in (0, 11, 25):
            layer = a["layers"][l]["layer"]
            for e in range(a["n_experts"]):
                red, _, blue = shot.cell(layer, e, 2)
                more = sum((e in s["experts"][l]) - (e in t["experts"][l]) for s, t in zip(a["tokens"], b["tokens"]))
                if abs(more) >= 2:
                    self.assertEqual(red > blue, more > 0, (layer, e, more))

    def test_equal_traces_differ_nowhere(self):
        path, trace = self.trace("v2-lite", 40)
        shot = self.shot("--replay", path, "--compare", path, "--at", 39, "--frames", 1, *SMALL)
        self.assertEqual(len({shot.cell(l["layer"], e, 2) for l in trace["layers"] for e in range(trace["n_experts"])}), 1)
        for l in trace["layers"]:
            self.assertEqual([shot.cell(l["layer"], e, 0) for e in range(8)], [shot.cell(l["layer"], e, 1) for e in range(8)])

    def test_unlike_shapes_are_refused(self):
        self.bad(1, "not comparable", "--replay", self.trace("tiny", 12)[0], "--compare", self.trace("v2-lite", 40)[0], "--screenshot",
                 self.path("no.png"))
        self.assertFalse(os.path.exists(self.path("no.png")))


class Files(view.Case):
    def test_csv(self):
        path, trace = self.trace("v2-lite", 40)
        out = self.path("out.csv")
        self.shot("--replay", path, "--at", 24, "--frames", 1, "--csv", out, *SMALL)
        with open(out, newline="") as f:
            rows = list(csv.DictReader(f))
        self.assertEqual(len(rows), len(trace["layers"]) * trace["n_experts"])
        for i, row in enumerate(rows):
            l, e = divmod(i, trace["n_experts"])
            weights = [t["weights"][l][t["experts"][l].index(e)] for t in trace["tokens"][:25] if e in t["experts"][l]]
            self.assertEqual((int(row["layer"]), int(row["expert"])), (trace["layers"][l]["layer"], e))
            self.assertEqual(int(row["chosen"]), len(weights))
            self.assertAlmostEqual(float(row["share"]), len(weights) / 25 / trace["n_used"], places=6)
            self.assertAlmostEqual(float(row["mean_weight"]), sum(weights) / len(weights) if weights else 0, places=5)
            self.assertIn(row["tier"], ("device", "host"))

    def test_a_cut_file_is_shown_as_far_as_it_goes(self):
        path, _ = self.trace("v2-lite", 2000)
        with open(path, "rb") as f:
            data = f.read()
        with open(self.path("cut.trace"), "wb") as f:
            f.write(data[:len(data) * 2 // 3])
        shot = self.shot("--replay", self.path("cut.trace"), "--frames", 1, *SMALL)
        self.assertTrue(0 < shot.where["tokens"] < 2000)

    def test_no_trace(self):
        with open(self.path("text.trace"), "w") as f:
            f.write("this is no trace\n" * 50)
        self.bad(1, "text.trace", "--replay", self.path("text.trace"), "--screenshot", self.path("no.png"))
        self.bad(1, "missing.trace", "--replay", self.path("missing.trace"), "--screenshot", self.path("no.png"))

    def test_unwritable(self):
        path, _ = self.trace("tiny", 12)
        self.bad(1, "no/folder", "--replay", path, "--screenshot", "/no/folder/a.png")
        self.bad(1, "no/folder", "--replay", path, "--screenshot", self.path("a.png"), "--csv", "/no/folder/a.csv")

    def test_fonts(self):
        path, _ = self.trace("tiny", 12)
        self.bad(1, "fonts-dejavu-core", "--replay", path, "--screenshot", self.path("no.png"), "--font-dir", self.folder.name)


class Words(view.Case):
    def test_wrong(self):
        for words, args in [("what to show", []), ("is no option", ["--reply", "x"]), ("needs a value", ["--replay"]),
                            ("--compare needs --replay", ["-p", "x", "--compare", "y"]), ("do not go with it", ["--replay", "x", "-p", "y"]),
                            ("--window", ["--replay", "x", "--window", "12"]), ("--frames", ["--replay", "x", "--frames", "0"]),
                            ("--speed", ["--replay", "x", "--speed", "fast"]), ("go with --screenshot", ["--replay", "x", "--csv", "y"]),
                            ("--session", ["-p", "x", "--session", "1"]), ("list of at most", ["-p", "x", "-dev", "a", "-ts", "3,,1"]),
                            ("-dev, which is not there", ["-p", "x", "-ts", "3,1"]), ("neither layer nor expert", ["-p", "x", "-sm", "row"])]:
            self.bad(2, words, *args)

    def test_help_and_version(self):
        self.assertIn(b"--replay", self.good("--help").out)
        self.assertRegex(self.good("--version").out.decode(), r"^seamount-view \d+\.\d+\.\d+\n$")

    def test_environment(self):
        path, _ = self.trace("tiny", 12)
        shot = self.shot("--frames", 1, env=cli.environment(SEAMOUNT_REPLAY=path, SEAMOUNT_WINDOW="500x400", SEAMOUNT_LIGHT="1"))
        self.assertEqual((shot.width, shot.height), (500, 400))
        self.assertGreater(light(shot.at(2, 2)), 220)
        shot = self.shot("--window", "520x400", "--frames", 1, env=cli.environment(SEAMOUNT_REPLAY=path, SEAMOUNT_WINDOW="500x400"))
        self.assertEqual(shot.width, 520)


class Readme(view.Case):
    """assets/view.png, the picture in README.md: with SMT_TEST_UPDATE=1 it is made anew. Letters differ a little from system to system,
    so the comparison is of size, place and cells."""

    def test_picture(self):
        assets = os.path.join(cli.DATA, "..", "..", "assets")
        kept = os.path.join(assets, "view.png")
        sample = os.path.join(assets, "sample.trace")
        shot = self.shot("--replay", sample, "--at", 150, "--frames", 1, "--window", "1280x720")
        if os.environ.get("SMT_TEST_UPDATE"):
            view.write_png(kept, shot)
        picture, trace = view.Shot(kept), self.dump(sample)
        picture.where = shot.where
        self.assertEqual((picture.width, picture.height), (shot.width, shot.height))
        for layer in trace["layers"]:
            for e in range(trace["n_experts"]):
                self.assertEqual(picture.cell(layer["layer"], e), shot.cell(layer["layer"], e), (layer["layer"], e))


class Speed(view.Case):
    @cli.in_full_tier
    def test_deepseek_v3_at_sixty_frames(self):
        path = self.path("v3.trace")
        import subprocess
        subprocess.run([os.path.join(view.TOOLS, "make_trace"), path, "10000", "v3"], check=True)
        out = self.good("--replay", path, "--screenshot", self.path("v3.png"), "-v", "--window", "1280x800")
        frames, milliseconds = (float(word) for word in out.err.split("frames: ")[1].split(" ms")[0].split(", "))
        self.assertEqual(frames, 10000)
        self.assertLess(milliseconds, 1000 / 60)


if __name__ == "__main__":
    cli.main()
