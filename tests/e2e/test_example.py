"""tools/example: the programs that embed the library say what the command line says.

Called as `test_example.py SEAMOUNT DATA_FOLDER [unittest options]`; the examples lie beside SEAMOUNT.
"""
import os
import subprocess
import unittest

import cli

MODEL = cli.data("g-v2.f16.gguf")
PROMPT = "ab"


def example(name, *args):
    program = os.path.join(os.path.dirname(cli.BIN), "example_" + name)
    if not os.path.exists(program):
        raise unittest.SkipTest(name + " was not built: no Vulkan loader to link with")
    return subprocess.run([program, *args], capture_output=True, env=cli.environment(), timeout=300, check=False)


class Example(cli.Case):
    def test_complete(self):
        done = example("complete", MODEL, PROMPT, "4")
        self.assertEqual(done.returncode, 0, done.stderr)
        run = self.good("run", "-m", MODEL, "-p", PROMPT, "-n", 4, "--temp", 0, "--json").json()
        self.assertEqual(done.stdout.decode(errors="replace"), run["text"] + "\n")

    def test_shared_device(self):
        done = example("shared_device", MODEL, PROMPT)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = done.stdout.decode(errors="replace")
        self.assertTrue(text.startswith(PROMPT + "[") and text.endswith("]\n") and len(text) > 5, text)

    def test_no_such_model(self):
        done = example("complete", "/no/such.gguf", PROMPT)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"/no/such.gguf", done.stderr)


if __name__ == "__main__":
    cli.main()
