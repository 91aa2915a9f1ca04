"""What the command-line tests share: calling the program, and reading the golden files. Python's standard library only.

Each test script is called as `test_x.py SEAMOUNT DATA_FOLDER [unittest options]`.
"""
import array
import json
import os
import subprocess
import sys
import unittest

BIN, DATA = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
SKIPPED = 77


def in_full_tier(test):
    """For a test, or a class of them, that the quick tier leaves out."""
    return unittest.skipUnless(os.environ.get("SMT_TEST_FULL"), "in the full tier")(test)


def data(name):
    return os.path.join(DATA, name)


def environment(**extra):
    """The caller's environment without any mirror of an option, plus what the test wants."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("SEAMOUNT_")}
    env.update(extra)
    return env


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr.decode(errors="replace")

    def json(self):
        return json.loads(self.out.decode())


def call(*args, stdin=b"", stdout=subprocess.PIPE, env=None):
    return Result(subprocess.run([BIN, *map(str, args)], input=stdin, stdout=stdout, stderr=subprocess.PIPE,
                                 env=env or environment(), timeout=300, check=False))


class Case(unittest.TestCase):
    def good(self, *args, **more):
        result = call(*args, **more)
        self.assertEqual(result.code, 0, "%s: exit %d: %s" % (args, result.code, result.err))
        return result

    def bad(self, code, words, *args, **more):
        """The call fails with this exit status, nothing on stdout, and one line on stderr that holds the words."""
        result = call(*args, **more)
        self.assertEqual(result.code, code, "%s: exit %d: %s" % (args, result.code, result.err))
        self.assertFalse(result.out, args)
        lines = [line for line in result.err.splitlines() if not line.startswith("notice: ")]
        self.assertEqual(len(lines), 1, "%s: %s" % (args, result.err))
        self.assertIn(words, lines[0])
        return result


class Golden:
    """Arrays of NAME.golden.bin by name, flat."""

    def __init__(self, name):
        with open(data(name + ".golden.json")) as f:
            self.index = json.load(f)
        with open(data(self.index["golden"]), "rb") as f:
            self.bytes = f.read()
        self.arrays = {a["name"]: a for a in self.index["arrays"]}

    def __contains__(self, name):
        return name in self.arrays

    def shape(self, name):
        return self.arrays[name]["shape"]

    def __getitem__(self, name):
        entry = self.arrays[name]
        values = array.array("i" if entry["dtype"] == "i32" else "f")
        values.frombytes(self.bytes[entry["offset"]:entry["offset"] + entry["nbytes"]])
        return values


def read_floats(path):
    values = array.array("f")
    with open(path, "rb") as f:
        values.frombytes(f.read())
    return values


def main():
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:])
