"""The library as others see it: which symbols it shows, how its structs lie in memory, and whether it can be built against once installed.

Called as `test_package.py SOURCE BUILD LIBRARY CMAKE CC CXX [unittest options]`. With RECORD in place of the options it writes
tests/package/abi.txt anew: `cmake --build build --target record_abi`.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import header

SOURCE, BUILD, LIBRARY, CMAKE, CC, CXX = sys.argv[1:7]
HEADER = os.path.join(SOURCE, "include", "seamount.h")
ABI = os.path.join(SOURCE, "tests", "package", "abi.txt")
STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror"]


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        raise AssertionError("%s: exit %d\n%s%s" % (" ".join(command), done.returncode, done.stdout, done.stderr))
    return done.stdout


class Symbols(unittest.TestCase):
    def test_exported_are_declared(self):
        lines = run("nm", "-D", "--defined-only", LIBRARY).splitlines()
        names = sorted(line.split()[2].split("@")[0] for line in lines if line.split()[1] != "A")
        self.assertEqual(names, header.functions(header.expanded(CC, HEADER)))
        self.assertIn("smt_session_eval", names)

    def test_soname(self):
        dynamic = run("readelf", "-d", LIBRARY)
        self.assertIn("[libseamount.so.0]", dynamic)


def layouts(folder):
    """Lines such as "smt_eval 88 8", "smt_eval.tokens 8 8" (offset, size) and "SMT_FORMAT = 5", made by the compiler itself."""
    text = header.expanded(CC, HEADER)
    lines = ['#include <seamount.h>', '#include <stdio.h>', 'int main(void) {']
    for name, fields in header.structs(text).items():
        lines.append('printf("%s %%zu %%zu\\n", sizeof(%s), _Alignof(%s));' % (name, name, name))
        for field in fields:
            lines.append('printf("%s.%s %%zu %%zu\\n", offsetof(%s, %s), sizeof((%s){0}.%s));' % (name, field, name, field, name, field))
    for name in header.enumerators(text):
        lines.append('printf("%s = %%d\\n", (int)%s);' % (name, name))
    source, program = os.path.join(folder, "abi.c"), os.path.join(folder, "abi")
    with open(source, "w", encoding="utf-8") as file:
        file.write("\n".join(lines + ["}"]))
    run(CC, "-std=c11", "-I" + os.path.dirname(HEADER), source, "-o", program)
    return run(program).splitlines()


def recorded():
    with open(ABI, encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file if line.strip() and not line.startswith("#")]


class Layouts(unittest.TestCase):
    """What abi.txt says still holds. New structs and enumerators may come, and fields at the end of a struct with struct_size."""

    def test_nothing_moved(self):
        with tempfile.TemporaryDirectory() as folder:
            now = layouts(folder)
        grows = {line.split(".")[0] for line in now if ".struct_size 0 " in line}
        seen = set(now)
        sizes = {line.split()[0]: int(line.split()[1]) for line in now if " = " not in line}
        for line in recorded():
            name, size = line.split()[:2]
            if name in grows and sizes.get(name, 0) >= int(size):
                continue
            if name == "SMT_STATUS_COUNT":
                continue
            if line not in seen:
                self.fail("\"%s\" is no longer so: programs that are linked with the former library break. New fields go to the end of "
                          "structs with struct_size. Before a release the target record_abi writes abi.txt anew; after one, what "
                          "moves takes a new major version" % line)
        self.assertIn("smt_eval.tokens 8 8", seen)


class Installed(unittest.TestCase):
    """`cmake --install` into an empty folder; tests/consumer is built against it in both ways, as C11 and as C++17."""

    @classmethod
    def setUpClass(cls):
        cls.prefix = tempfile.mkdtemp(prefix="package-", dir=BUILD)
        for component in ("library", "development"):
            run(CMAKE, "--install", BUILD, "--prefix", cls.prefix, "--component", component)
        cls.libraries = os.path.dirname(cls.find("libseamount.so"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.prefix)

    @classmethod
    def find(cls, name):
        for folder, _, files in os.walk(cls.prefix):
            if name in files:
                return os.path.join(folder, name)
        raise AssertionError("%s was not installed" % name)

    def check(self, program):
        env = dict(os.environ, LD_LIBRARY_PATH=self.libraries)
        self.assertIn("SMT_IO", run(program, "/no/such/model.gguf", env=env))

    def test_find_package(self):
        build = os.path.join(self.prefix, "consumer")
        run(CMAKE, "-S", os.path.join(SOURCE, "tests", "consumer"), "-B", build, "-DCMAKE_PREFIX_PATH=" + self.prefix,
            "-DCMAKE_C_COMPILER=" + CC, "-DCMAKE_CXX_COMPILER=" + CXX)
        run(CMAKE, "--build", build)
        self.check(os.path.join(build, "consumer_c"))
        self.check(os.path.join(build, "consumer_cpp"))

    def test_pkg_config(self):
        folder = os.path.dirname(self.find("seamount.pc"))
        flags = run("pkg-config", "--cflags", "--libs", "seamount", env=dict(os.environ, PKG_CONFIG_PATH=folder)).split()
        program = os.path.join(self.prefix, "by-pkg-config")
        run(CC, "-std=c11", *STRICT, os.path.join(SOURCE, "tests", "consumer", "consumer.c"), *flags, "-o", program)
        self.check(program)


if __name__ == "__main__":
    if sys.argv[7:] == ["RECORD"]:
        with tempfile.TemporaryDirectory() as scratch, open(ABI, "w", encoding="utf-8") as out:
            out.write("# Layouts that programs are compiled with, 64-bit: structs with size and alignment, fields with offset and size,\n"
                      "# enumerators. Checked and written by test_package.py.\n")
            out.write("\n".join(layouts(scratch)) + "\n")
    else:
        unittest.main(argv=[sys.argv[0]] + sys.argv[7:])
