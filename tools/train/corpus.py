"""Collects the training text: Python source and documentation that Debian packages install, all under permissive licences.

    python3 corpus.py WORK_DIR

writes WORK_DIR/corpus.json, the list of documents of every source with one of the splits "train" and "held" each, and prints a table of
sources, licences and sizes. Nothing of the text is copied: the list names files, and the digest of each guards against a package that
changed in between.
"""
import hashlib
import json
import re
import sys
from pathlib import Path

# name, licence, folder, suffix, parts of paths to leave out
SOURCES = [
    ("Python standard library", "PSF-2.0", "/usr/lib/python3.11", ".py", ("lib2to3/tests", "pydoc_data", "idlelib/Icons", "dist-packages")),
    ("Python documentation", "PSF-2.0 / 0BSD", "/usr/share/doc/python3.11/html/_sources", ".txt", ("changelog", "whatsnew")),
    ("numpy", "BSD-3-Clause", "/usr/lib/python3/dist-packages/numpy", ".py", ()),
    ("scipy", "BSD-3-Clause", "/usr/lib/python3/dist-packages/scipy", ".py", ("_lib/_uarray",)),
    ("matplotlib", "PSF-2.0 (matplotlib)", "/usr/lib/python3/dist-packages/matplotlib", ".py", ()),
    ("networkx", "BSD-3-Clause", "/usr/lib/python3/dist-packages/networkx", ".py", ()),
    ("scikit-learn", "BSD-3-Clause", "/usr/lib/python3/dist-packages/sklearn", ".py", ()),
    ("pandas", "BSD-3-Clause", "/usr/lib/python3/dist-packages/pandas", ".py", ()),
    ("Django", "BSD-3-Clause", "/usr/lib/python3/dist-packages/django", ".py", ("locale/",)),
    ("Flask", "BSD-3-Clause", "/usr/lib/python3/dist-packages/flask", ".py", ()),
    ("Werkzeug", "BSD-3-Clause", "/usr/lib/python3/dist-packages/werkzeug", ".py", ()),
    ("Jinja2", "BSD-3-Clause", "/usr/lib/python3/dist-packages/jinja2", ".py", ()),
    ("Tornado", "Apache-2.0", "/usr/lib/python3/dist-packages/tornado", ".py", ()),
    ("PyTorch (Python part)", "BSD-3-Clause", "/usr/lib/python3/dist-packages/torch", ".py", ("testing/_internal/generated",)),
]
HELD_SHARE = 64  # one document in so many is held out
MIN_BYTES, MAX_BYTES = 400, 300_000


def is_prose_or_code(text):
    """False for tables of data and generated files: their lines are long, or digits and punctuation outweigh words."""
    lines = text.split("\n")
    if max(map(len, lines)) > 400:
        return False
    digits = sum(text.count(d) for d in "0123456789")
    letters = len(re.findall(r"[A-Za-z_]", text))
    return digits < 0.12 * len(text) and letters > 0.4 * (len(text) - text.count(" ") - text.count("\n"))


def documents(folder, suffix, skip):
    """(path, text) of what is worth learning from, in a fixed order."""
    for path in sorted(Path(folder).rglob("*" + suffix)):
        name = str(path)
        if not path.is_file() or path.is_symlink() or any(part in name for part in skip):
            continue
        data = path.read_bytes()
        if not MIN_BYTES <= len(data) <= MAX_BYTES:
            continue
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if text.isascii() and is_prose_or_code(text):
            yield path, text.replace("\r\n", "\n").replace("\t", "    ")


def main(work):
    seen, docs, table = set(), [], []
    for name, licence, folder, suffix, skip in SOURCES:
        count = held = size = 0
        for path, text in documents(folder, suffix, skip):
            digest = hashlib.sha256(text.encode()).hexdigest()
            if digest in seen:
                continue
            seen.add(digest)
            split = "held" if int(digest[:8], 16) % HELD_SHARE == 0 else "train"
            docs.append({"path": str(path), "source": name, "split": split, "sha256": digest, "bytes": len(text)})
            count, size, held = count + 1, size + len(text), held + (split == "held")
        table.append((name, licence, count, held, size))
    Path(work).mkdir(parents=True, exist_ok=True)
    (Path(work) / "corpus.json").write_text(json.dumps(docs, indent=0))
    print("| source | licence | files | held out | MB |\n|---|---|---|---|---|")
    for name, licence, count, held, size in table:
        print(f"| {name} | {licence} | {count} | {held} | {size / 1e6:.1f} |")
    print(f"| all | | {len(docs)} | {sum(row[3] for row in table)} | {sum(row[4] for row in table) / 1e6:.1f} |")


def load(work, split):
    """[(source, text)] of one split; stops if a file is no longer what it was when the list was made."""
    texts = []
    for doc in json.loads((Path(work) / "corpus.json").read_text()):
        if doc["split"] != split:
            continue
        text = Path(doc["path"]).read_bytes().decode("utf-8").replace("\r\n", "\n").replace("\t", "    ")
        if hashlib.sha256(text.encode()).hexdigest() != doc["sha256"]:
            sys.exit(f"{doc['path']} changed since corpus.json was made: run corpus.py again")
        texts.append((doc["source"], text))
    return texts


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
