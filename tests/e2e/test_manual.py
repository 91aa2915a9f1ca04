"""Manual pages: one for each command of --help, every option of its help in it, and nothing that groff warns of.

Called as `test_manual.py SEAMOUNT DATA_FOLDER [unittest options]`.
"""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import cli


def plain(roff):
    return re.sub(r"\\f[BIR]", "", roff).replace("\\-", "-").replace("\\e", "\\").replace("\\&", "")


class Manual(cli.Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.assertEqual(self.good("--man-pages", self.folder).out, b"")

    def page(self, name):
        with open(os.path.join(self.folder, name + ".1"), encoding="utf-8") as file:
            return plain(file.read())

    def test_says_what_help_says(self):
        commands = re.findall(r"^  ([a-z]+) +(\S.*)$", self.good("--help").out.decode(), re.M)
        self.assertGreater(len(commands), 10)
        self.assertEqual(sorted(os.listdir(self.folder)), sorted(["seamount.1"] + ["seamount-%s.1" % name for name, _ in commands]))
        program = self.page("seamount")
        for name, summary in commands:
            self.assertIn("seamount-%s (1)\n%s\n" % (name, summary), program)
            page = self.page("seamount-" + name)
            rows = re.findall(r"^  ((?:-[a-z]+, )?--\S+(?: \S+)?) +(\S.*)$", self.good(name, "--help").out.decode(), re.M)
            self.assertTrue(rows)
            for left, words in rows:
                self.assertIn("\n%s\n%s\n" % (left, words), page, name)

    @unittest.skipUnless(shutil.which("groff"), "groff is not installed")
    def test_groff_is_content(self):
        for name in os.listdir(self.folder):
            done = subprocess.run(["groff", "-man", "-ww", "-z", "-K", "utf8", os.path.join(self.folder, name)], capture_output=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b""), name)

    def test_no_such_folder(self):
        self.bad(1, "/no/such/folder", "--man-pages", "/no/such/folder")


if __name__ == "__main__":
    cli.main()
