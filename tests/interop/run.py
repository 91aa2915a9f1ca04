"""Clients that programs use, from npm in the versions of package-lock.json, against a server with the model that comes with seamount.

    run.py SEAMOUNT DATA_FOLDER WORK_FOLDER

The packages are installed into WORK_FOLDER. Without node 20, npm, or a network that reaches the packages: skipped (status 77)."""
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "e2e"))
import cli  # noqa: E402
from server import Server  # noqa: E402

KEY = "interop-key"


def skip(why):
    print("skipped:", why)
    sys.exit(cli.SKIPPED)


def install(folder):
    os.makedirs(folder, exist_ok=True)
    for name in ("package.json", "package-lock.json", "clients.test.mjs"):
        shutil.copy(os.path.join(HERE, name), folder)
    done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, capture_output=True, text=True, timeout=600,
                          check=False)
    if done.returncode and re.search("ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH", done.stderr):
        skip("npm reaches no packages: " + done.stderr.strip().splitlines()[-1])
    if done.returncode:
        sys.exit("npm ci: " + done.stderr)


def main():
    if not shutil.which("npm") or not shutil.which("node"):
        skip("npm is not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < 20:
        skip("node is " + version.strip())
    folder = sys.argv[3]
    install(folder)
    with Server("-c", 512, "-np", 4, "-b", 64, "--chat-template", "deepseek2", "--api-key", KEY) as server:
        env = cli.environment()
        env.update(SEAMOUNT_URL="http://%s:%d" % (server.host, server.port), SEAMOUNT_KEY=KEY)
        code = subprocess.run(["node", "--test", "--test-reporter=spec", "clients.test.mjs"], cwd=folder, env=env, timeout=600,
                              check=False).returncode
    sys.exit(code)


main()
