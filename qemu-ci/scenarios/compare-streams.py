#!/usr/bin/python3
"""Compares files of `xl save`'s format, of one guest in one state: every page, and every
record of its state octet for octet. Knows nothing of Luthier: it reads the streams by their
specifications (libxl-migration-stream, libxc-migration-stream v3) and Xen's public headers.

    compare-streams.py A B...

Compares A with each B. Ends with 0 if they are the same, 1 if not, and says what differs. The
octet positions of one page and of the HVM context in B are printed, for whoever wants to see that
a change there is found.

What may differ, because Xen makes it up when it is asked (read in Xen's source):
 - TSC_INFO, elapsed_nsec: the time of the call (tsc_get_info in arch/x86/time.c).
 - HVM context, CPU records, field tsc: the guest's TSC at the time of the call (hvm_save_cpu_ctxt
   in arch/x86/hvm/hvm.c takes it from sync_tsc, which arch_hvm_save sets to rdtsc()).
Nothing else in the HVM context is of the time of the call: the other handlers (LAPIC, MTRR,
TSC_ADJUST, XSAVE, VMCE, MSRs) copy what the domain has, and a PVH guest has no PIT, RTC, HPET or
PM timer, whose handlers would.
"""

import os
import sys
from struct import unpack, calcsize, unpack_from

PAGE = 4096
# Pages that are compared at a time: page by page is slow in Python.
RUN = 256
# struct hvm_hw_cpu in public/arch-x86/hvm/save.h: 1008 octets before `tsc`, a uint64_t.
CPU, CPU_TSC = 2, slice(1008, 1016)
# struct of REC_TYPE_X86_TSC_INFO: mode, khz, nsec, incarnation.
TSC_NSEC = slice(8, 16)
NAMES = {7: "SHARED_INFO", 8: "TSC_INFO", 9: "HVM_CONTEXT", 10: "HVM_PARAMS", 11: "TOOLSTACK",
         13: "VERIFY", 14: "CHECKPOINT", 16: "STATIC_DATA_END", 17: "X86_CPUID_POLICY",
         18: "X86_MSR_POLICY"}


class Stream:
    """Pages as {pfn: position of its data, or None if only allocated}; state by record type."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)
        self.file = os.fdopen(self.fd, "rb", 1 << 16)
        self.pages, self.state, self.at = {}, {}, {}
        magic = self.take("=32s4I")
        assert magic[0] == b"Xen saved domain, xl format\n \0 \r", "not a file of xl save"
        self.skip(magic[4])
        assert self.take("!QII")[0] == 0x4C6962786C466D74, "no libxl stream"
        while True:
            kind, length = self.take("=II")
            if kind == 0:
                break
            if kind == 1:
                self.libxc()
            else:
                self.skip(length + -length % 8)

    def take(self, form):
        return unpack(form, self.file.read(calcsize(form)))

    def skip(self, length):
        self.file.seek(length, 1)

    def libxc(self):
        self.skip(24)
        self.page_shift = self.take("=IHHII")[1]
        assert self.page_shift == 12, "pages of another size"
        while True:
            kind, length = self.take("=II")
            start = self.file.tell()
            if kind == 0:
                return
            if kind == 1:
                self.page_data()
            else:
                assert kind not in self.state, "record %d twice" % kind
                self.state[kind], self.at[kind] = self.file.read(length), start
            self.file.seek(start + length + -length % 8)

    def page_data(self):
        count, _ = self.take("=II")
        entries = self.take("=%dQ" % count)
        at = self.file.tell()
        for entry in entries:
            pfn, kind = entry & (1 << 52) - 1, entry >> 60
            if kind in (0xD, 0xF):  # broken, not there
                continue
            # A later record of a page takes the place of an earlier one.
            self.pages[pfn] = None if kind == 0xE else at
            at += 0 if kind == 0xE else PAGE

    def run(self, pfn, most):
        """How many pages from this one on, at most, have their data in a row; and the data."""
        at, count = self.pages[pfn], 1
        if at is None:
            return 1, b"\0" * PAGE
        while count < most and self.pages.get(pfn + count) == at + count * PAGE:
            count += 1
        return count, os.pread(self.fd, count * PAGE, at)

    def context(self):
        """The HVM context as {(typecode, instance): body}."""
        body, at, found = self.state[9], 0, {}
        while at < len(body):
            code, instance, length = unpack_from("=HHI", body, at)
            found[code, instance] = body[at + 8 : at + 8 + length]
            at += 8 + length
        return found


def without(body, part):
    return body[: part.start] + body[part.stop :]


def differing(a, b, what):
    """Keys of two dictionaries whose values differ."""
    for key in sorted(a.keys() | b.keys()):
        if a.get(key) != b.get(key):
            x, y = a.get(key, b""), b.get(key, b"")
            first = next((i for i, (p, q) in enumerate(zip(x, y)) if p != q), min(len(x), len(y)))
            yield "%s %s: first at octet %d of %d and %d" % (what, key, first, len(x), len(y))


def pages(a, b):
    """Says which pages differ."""
    for pfn in sorted(a.pages.keys() ^ b.pages.keys()):
        yield "page %#x is only in %s" % (pfn, "A" if pfn in a.pages else "B")
    todo = sorted(a.pages.keys() & b.pages.keys())
    at = 0
    while at < len(todo):
        count, x = a.run(todo[at], RUN)
        count, y = b.run(todo[at], count)
        if x[: count * PAGE] != y:
            for i in range(count):
                p, q = x[i * PAGE : (i + 1) * PAGE], y[i * PAGE : (i + 1) * PAGE]
                octets = [o for o in range(PAGE) if p[o] != q[o]] if p != q else None
                if octets:
                    yield "page %#x: %d octets, %d to %d" % (todo[at] + i, len(octets), octets[0], octets[-1])
        at += count


def comparable(stream):
    """Its HVM context and its other records, without what the time of asking decides."""
    context = stream.context()
    for key in context:
        if key[0] == CPU:
            context[key] = without(context[key], CPU_TSC)
    state = {NAMES.get(kind, kind): body for kind, body in stream.state.items() if kind != 9}
    state["TSC_INFO"] = without(state["TSC_INFO"], TSC_NSEC)
    # Parameters are a set of (index, value).
    count = unpack_from("=I", state["HVM_PARAMS"])[0]
    pairs = unpack_from("=%dQ" % (2 * count), state["HVM_PARAMS"], 8)
    state["HVM_PARAMS"] = b"%r" % sorted(zip(pairs[::2], pairs[1::2]))
    return context, state


def compare(a, b):
    (context, state), (other_context, other_state) = comparable(a), comparable(b)
    wrong = list(pages(a, b))
    wrong += differing(context, other_context, "HVM context (typecode, instance)")
    wrong += differing(state, other_state, "record")
    print("compared %d pages, records %s" % (len(a.pages.keys() & b.pages.keys()), " ".join(map(str, state))))
    kinds = sorted({code for code, _ in context})
    print("compared HVM context: %d pieces of typecodes %s" % (len(context), kinds))
    sample = next(pfn for pfn, at in b.pages.items() if at is not None)
    print("B has page %#x at %d, HVM context at %d" % (sample, b.pages[sample], b.at[9]))
    for line in wrong[:20]:
        print("differs: " + line)
    print("%d differences" % len(wrong))
    return len(wrong)


def main():
    a, *others = map(Stream, sys.argv[1:])
    return 1 if sum(compare(a, b) for b in others) else 0


if __name__ == "__main__":
    sys.exit(main())
