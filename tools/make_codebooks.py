#!/usr/bin/env python3
"""make_codebooks.py DIR > src/quant/quant_codebook_data.c

Packs the codebooks of the IQ types. DIR holds one CSV file per codebook (iq1_s_grid.csv ...), one line per index: the index, then the
values of the group's elements in order. Eight elements of three possible values become 16 bits, two per element, and two entries a word, the
earlier one in the low half; four elements become a word, one byte each. The codebooks follow each other as params.h says.
"""
import csv
import sys

# file, possible values of two bits (none: bytes), entries
BOOKS = [
    ("iq2_xxs_grid", [8, 25, 43], 256),
    ("iq2_xs_grid", [8, 25, 43], 512),
    ("iq2_s_grid", [8, 25, 43], 1024),
    ("iq1_s_grid", [-1, 0, 1], 2048),
    ("iq3_xxs_grid", None, 256),
    ("iq3_s_grid", None, 512),
]
HEAD = """/* quant_codebook_data.c: the codebooks of the IQ types, packed by tools/make_codebooks.py; edit nothing here.
 *
 * A codebook begins at the word that CODEBOOK_* in shaders/shared/params.h says. IQ2 and IQ1 have groups of 8 elements: 16 bits an
 * entry, two entries a word, the earlier one in the low half; element j is bits 2j, 2j + 1 (IQ2: 8 25 43; IQ1: -1 0 1). IQ3 has groups of
 * 4: a word an entry, element j is byte j. */
#include "quant.h"

"""


def words(folder, name, values, count):
    with open(f"{folder}/{name}.csv", newline="") as file:
        rows = [[int(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    if [row[0] for row in rows] != list(range(count)) or {len(row) for row in rows} != {9 if values else 5}:
        sys.exit(f"{name}: wanted {count} lines of an index and {8 if values else 4} values")
    if not values:
        return [int.from_bytes(bytes(row[1:]), "little") for row in rows]
    packed = [sum(values.index(v) << 2 * j for j, v in enumerate(row[1:])) for row in rows]
    return [low | high << 16 for low, high in zip(packed[::2], packed[1::2])]


def main():
    packed = [word for book in BOOKS for word in words(sys.argv[1], *book)]
    print(HEAD + "/* clang-format off */\nconst uint32_t smt_quant_codebooks[CODEBOOK_WORDS] = {")
    for i in range(0, len(packed), 10):
        print("    " + " ".join(f"0x{w:08x}," for w in packed[i:i + 10]))
    print("};")


main()
