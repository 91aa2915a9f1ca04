"""What the viewer's tests share: reading PNG files, calling the viewer without a screen, traces and what is in them.

A Shot is a picture with the list of where everything is (--regions), so that tests can ask for the colour of an expert's cell.
"""
import json
import os
import struct
import subprocess
import zlib

import cli

TOOLS = os.environ["SMT_TEST_TOOLS"]


def read_png(path):
    """Width, height and rows of RGB bytes. Only what the viewer writes: 8 bits, three channels, no interlace."""
    with open(path, "rb") as f:
        data = f.read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", path
    at, packed, head = 8, b"", None
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(kind + body), "%s: checksum of %s" % (path, kind)
        if kind == b"IHDR":
            head = struct.unpack(">IIBBBBB", body)
        if kind == b"IDAT":
            packed += body
        at += 12 + size
    width, height = head[:2]
    assert head[2:4] == (8, 2) and head[6] == 0, "%s: %s" % (path, head)
    return width, height, unfilter(zlib.decompress(packed), width * 3, height)


def unfilter(data, stride, height):
    rows, before = [], bytearray(stride)
    for y in range(height):
        kind = data[y * (stride + 1)]
        row = bytearray(data[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for x in range(stride) if kind else ():
            left = row[x - 3] if x >= 3 else 0
            corner = before[x - 3] if x >= 3 else 0
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = before[x]
            elif kind == 3:
                guess = (left + before[x]) // 2
            else:
                guess = min((abs(before[x] - corner), 0, left), (abs(left - corner), 1, before[x]),
                            (abs(left + before[x] - 2 * corner), 2, corner))[2]
            row[x] = (row[x] + guess) & 255
        rows.append(row)
        before = row
    return rows


def write_png(path, shot):
    """As small as zlib makes it."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", shot.width, shot.height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in shot.rows), 9)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def light(colour):
    """How bright it looks, 0 to 255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


class Shot:
    def __init__(self, picture, regions=None):
        self.width, self.height, self.rows = read_png(picture)
        if regions:
            with open(regions) as f:
                self.where = json.load(f)

    def at(self, x, y):
        return tuple(self.rows[y][3 * x:3 * x + 3])

    def rect(self, layer, expert, pane=0):
        p = self.where["panes"][pane]
        x, y, w, h = p["first_cell"]
        above = sum(hop["layer"] <= layer for hop in p["hops"])
        return (x + expert * p["pitch"][0] + expert // p["group_size"] * p["group_gap"],
                y + layer * p["pitch"][1] + above * p["band_gap"], w, h)

    def cell(self, layer, expert, pane=0):
        """The colour of an expert's cell, at its corner: there may be a number in the middle."""
        x, y, w, h = self.rect(layer, expert, pane)
        cells = self.where["panes"][pane]["cells"]
        assert cells[0] <= x < cells[0] + cells[2] and cells[1] <= y < cells[1] + cells[3], (layer, expert)
        return self.at(x + min(1, w - 1), y + min(1, h - 1))

    def count(self, colour, region):
        x, y, w, h = self.where["regions"][region]
        wanted = bytes(colour)
        return sum(self.rows[v][3 * u:3 * u + 3] == wanted for v in range(y, y + h) for u in range(x, x + w))

    def hop_bars(self):
        """Of the strip over the first layer of each device but the first: the colour of its bar, and how much of the strip that takes."""
        for hop in self.where["panes"][0]["hops"]:
            x, y, w, h = hop["strip"]
            colour = self.at(x, y)
            n = next((n for n in range(w) if self.at(x + n, y) != colour), w)
            yield hop, colour, n / w

    def accent(self):
        return tuple(bytes.fromhex(self.where["accent"]))


class Case(cli.Case):
    """A folder for each class of tests, in which traces are made once."""

    @classmethod
    def setUpClass(cls):
        import tempfile
        cls.folder = tempfile.TemporaryDirectory()
        cls.traces = {}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def trace(self, shape, tokens, *more):
        """A trace file and what it holds."""
        name = "-".join([shape, str(tokens), *map(str, more)]) + ".trace"
        if name not in self.traces:
            subprocess.run([os.path.join(TOOLS, "make_trace"), self.path(name), str(tokens), shape, *map(str, more)], check=True)
            self.traces[name] = self.dump(self.path(name))
        return self.path(name), self.traces[name]

    def dump(self, path):
        done = subprocess.run([os.path.join(TOOLS, "dump_trace"), path], check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout)

    def shot(self, *args, **more):
        """The last frame of a call without a screen."""
        picture, regions = self.path("shot.png"), self.path("shot.json")
        done = self.good(*args, "--screenshot", picture, "--regions", regions, **more)
        shot = Shot(picture, regions)
        shot.err = done.err
        return shot
