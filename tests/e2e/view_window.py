"""A viewer in a window of a screen of its own (Xvfb), driven by mouse and keyboard (xdotool)."""
import glob
import os
import shutil
import struct
import subprocess
import sys
import time

import cli
import view


def is_there():
    return bool(shutil.which("Xvfb") and shutil.which("xdotool"))


def need():
    if not is_there():
        print("skipped: Xvfb and xdotool are needed (tools/deps.sh --tests)")
        sys.exit(cli.SKIPPED)


def start_screen(folder):
    """An X server on a free number, whose screen is the file Xvfb_screen0 of the folder: (process, ":N")."""
    out, into = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(into), "-screen", "0", "1400x900x24", "-nolisten", "tcp", "-fbdir", folder],
                              pass_fds=[into], stderr=subprocess.DEVNULL)
    os.close(into)
    with os.fdopen(out) as f:
        number = f.readline().strip()
    return server, ":" + number


class Window:
    """A viewer on the screen. Coordinates are the window's own."""

    def __init__(self, test, *args):
        self.folder, self.screen = test.path("window%d" % time.monotonic_ns()), test.path("Xvfb_screen0")
        os.mkdir(self.folder)
        self.env = cli.environment(DISPLAY=test.display, SDL_VIDEODRIVER="x11", SDL_RENDER_DRIVER="software")
        self.viewer = subprocess.Popen([cli.BIN, *map(str, args)], cwd=self.folder, env=self.env, stderr=subprocess.PIPE)
        self.id = self.tool("search", "--sync", "--name", "^seamount-view").split()[-1]
        self.tool("windowfocus", "--sync", self.id)
        self.move(2, 2)

    def tool(self, *words):
        return subprocess.run(["xdotool", *map(str, words)], env=self.env, check=True, stdout=subprocess.PIPE, timeout=60).stdout.decode()

    @staticmethod
    def settle():
        time.sleep(0.1)

    def key(self, *keys):
        for key in keys:
            self.tool("key", key)
        self.settle()

    def move(self, x, y):
        self.tool("mousemove", "--window", self.id, int(x), int(y))
        self.settle()

    def click(self, x, y, button=1):
        self.move(x, y)
        self.tool("click", button)
        self.settle()

    def drag(self, x, y, to_x, to_y):
        self.move(x, y)
        self.tool("mousedown", 1)
        for part in (0.3, 0.6, 1):
            self.move(x + (to_x - x) * part, y + (to_y - y) * part)
        self.tool("mouseup", 1)
        self.settle()

    def saved(self, key, pattern):
        """Presses a key that saves a file, and waits for it: its path."""
        self.key(key)
        for _ in range(200):
            found = glob.glob(os.path.join(self.folder, pattern))
            if found and os.path.getsize(found[0]) > 0:
                self.settle()
                return found[0]
            time.sleep(0.05)
        raise AssertionError("nothing was saved: %s" % os.listdir(self.folder))

    def shot(self, where=None):
        """What the window shows now, and which token that is."""
        path = self.saved("p", "*.png")
        shot = view.Shot(path)
        shot.token = int(os.path.basename(path).split("-")[-1].split(".")[0]) - 1
        shot.where = where
        os.remove(path)
        return shot

    def seen(self):
        """Rows of RGB bytes as the screen has them where the window is. The file is one of xwd's."""
        with open(self.screen, "rb") as f:
            data = f.read()
        head = struct.unpack(">25I", data[:100])
        assert head[7] == 0 and head[11] == 32, head  # bytes blue, green, red, none
        place = dict(line.split("=") for line in self.tool("getwindowgeometry", "--shell", self.id).split())
        x, y, w, h = (int(place[name]) for name in ("X", "Y", "WIDTH", "HEIGHT"))
        start, stride, rows = head[0] + 12 * head[19], head[12], []
        for line in range(y, y + h):
            pixels, row = data[start + line * stride + 4 * x:start + line * stride + 4 * (x + w)], bytearray(3 * w)
            for i in range(3):
                row[i::3] = pixels[2 - i::4]
            rows.append(row)
        return rows

    def close(self):
        if self.viewer.poll() is None:
            self.key("q")
        try:
            return self.viewer.wait(20)
        finally:
            self.viewer.kill()
            self.viewer.stderr.close()


class Case(view.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server, cls.display = start_screen(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        cls.server.wait()
        super().tearDownClass()

    def window(self, *args):
        window = Window(self, *args)
        self.addCleanup(window.close)
        return window
