#!/usr/bin/python3
"""Spoils one LZ4 record of an image, or its entry in the table, so that only who decodes it can
notice: the sums of the table and of the manifest are put right. It knows the format by what
dom0-shim/store/src/table.rs and manifest.rs tell, and nothing of its code.

    forge-image.py IMAGE beyond|short|truncated|wrong|outside|table

 - beyond: the record decodes to far more than a page
 - short: it decodes to less
 - truncated: its entry says that it ends earlier
 - wrong: it decodes to another page of the right length
 - outside: its entry says that it lies behind the end of the memory
 - table: its entry is changed, and the sums are not put right

Prints the slot.
"""

import hashlib
import json
import os
import sys

ENTRY, PAGE, LZ4 = 16, 4096, 3


def entries(table):
    for slot in range(len(table) // ENTRY):
        place = int.from_bytes(table[slot * ENTRY + 8 : slot * ENTRY + 16], "little")
        if place & 15 == LZ4:
            yield slot, (place >> 4 & 0xFFF) + 1, place >> 16


def set_entry(table, slot, length, offset):
    place = LZ4 | length - 1 << 4 | offset << 16
    table[slot * ENTRY + 8 : slot * ENTRY + 16] = place.to_bytes(8, "little")


def believe(image, table):
    """The manifest with the sum of this table, and its own."""
    path = os.path.join(image, "manifest.json")
    with open(path) as file:
        manifest = json.load(file)
    del manifest["checksum"]
    manifest["files"]["pages"]["sha256"] = hashlib.sha256(table).hexdigest()
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    assert text.endswith("\n}")
    text = text[: -len("\n}")]
    total = hashlib.sha256(text.encode()).hexdigest()
    with open(path, "w") as file:
        file.write('%s,\n  "checksum": "sha256:%s"\n}\n' % (text, total))


def literals(length):
    """The last sequence of an LZ4 block, literals only, in just so many octets."""
    for count in range(length):
        extra = b"" if count < 15 else b"\xff" * ((count - 15) // 255) + bytes([(count - 15) % 255])
        if 1 + len(extra) + count == length:
            return bytes([min(count, 15) << 4]) + extra + b"\xab" * count
    sys.exit("no such block")


def bomb(length):
    """A literal, a match of 20 times 255 octets, and the end."""
    head = bytes([0x1F, 7, 1, 0]) + b"\xff" * 20 + b"\0"
    return head + literals(length - len(head))


def main():
    image, kind = sys.argv[1:]
    with open(os.path.join(image, "pages"), "rb") as file:
        table = bytearray(file.read())
    slot, length, offset = next(e for e in entries(table) if 300 <= e[1] <= 2000)
    path = os.path.join(image, "memory")
    with open(path, "r+b") as memory:
        memory.seek(offset)
        record = bytearray(memory.read(length))
        if kind == "beyond":
            record = bomb(length)
        elif kind == "short":
            record = literals(length)
        elif kind == "wrong":
            # The last octets of an LZ4 block are literals.
            record[-1] ^= 1
        memory.seek(offset)
        memory.write(record)
    if kind == "truncated":
        set_entry(table, slot, length - 7, offset)
    elif kind == "outside":
        set_entry(table, slot, length, (os.path.getsize(path) + 7))
    elif kind == "table":
        set_entry(table, slot, length - 1, offset)
    with open(os.path.join(image, "pages"), "wb") as file:
        file.write(table)
    if kind != "table":
        believe(image, table)
    print(slot)


main()
