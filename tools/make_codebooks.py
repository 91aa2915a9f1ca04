#!/usr/bin/env python3
"""make_codebooks.py DIR > src/quant/quant_codebook_data.c

Packs the codebooks of the IQ types. DIR holds one CSV file per codebook (iq1_s_grid.csv ...), one line per index: the index, then the
values of the group's elements in order. Each group of 8 elements of three possible values, or of 4 elements of eight, becomes 16 bits:
element j is bits 2j, 2j + 1, or bits 4j .. 4j + 2, holding the place of its value among the possible ones. The lists follow each other,
two entries a word, the earlier one in the low half.
"""
import csv
import sys

# name, file, possible values, entries
BOOKS = [
    ("IQ2_XXS", "iq2_xxs_grid", [8, 25, 43], 256),
    ("IQ2_XS", "iq2_xs_grid", [8, 25, 43], 512),
    ("IQ2_S", "iq2_s_grid", [8, 25, 43], 1024),
    ("IQ3_XXS", "iq3_xxs_grid", [4, 12, 20, 28, 36, 44, 52, 62], 256),
    ("IQ3_S", "iq3_s_grid", [1, 3, 5, 7, 9, 11, 13, 15], 512),
    ("IQ1", "iq1_s_grid", [-1, 0, 1], 2048),
]
HEAD = """/* quant_codebook_data.c: the codebooks of the IQ types, packed by tools/make_codebooks.py; edit nothing here.
 *
 * 16 bits an entry, two entries a word, the earlier one in the low half; a codebook begins at the entry that SMT_CODEBOOK_* in
 * quant_internal.h says. Where an entry is 8 elements, element j is bits 2j, 2j + 1 (IQ1: -1 0 1; IQ2: 8 25 43); where it is 4,
 * element j is bits 4j .. 4j + 2 (IQ3_XXS: 4 12 20 28 36 44 52 62; IQ3_S: 1 3 .. 15), bit 4j + 3 zero. */
#include "quant_internal.h"

"""


def entries(folder, name, values, count):
    with open(f"{folder}/{name}.csv", newline="") as file:
        rows = [[int(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    if [row[0] for row in rows] != list(range(count)):
        sys.exit(f"{name}: wanted the indices 0 .. {count - 1}")
    width = len(rows[0]) - 1
    if (width, len(values)) not in ((8, 3), (4, 8)):
        sys.exit(f"{name}: {width} columns of {len(values)} values do not fit 16 bits")
    return [sum(values.index(v) << (16 // width * j) for j, v in enumerate(row[1:])) for row in rows]


def main():
    packed = [e for name, file, values, count in BOOKS for e in entries(sys.argv[1], file, values, count)]
    words = [packed[i] | packed[i + 1] << 16 for i in range(0, len(packed), 2)]
    print(HEAD + "/* clang-format off */\nconst uint32_t smt_quant_codebooks[SMT_CODEBOOK_ENTRIES / 2] = {")
    for i in range(0, len(words), 10):
        print("    " + " ".join(f"0x{w:08x}," for w in words[i:i + 10]))
    print("};")


main()
