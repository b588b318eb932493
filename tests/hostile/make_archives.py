#!/usr/bin/env python3
"""Writes archives that try to escape, lie, loop, collide or bomb, and what must become of each.

    make_archives.py DIRECTORY

writes `DIRECTORY/NAME.tar` for every case and `DIRECTORY/cases.json`. The same archives every time: no clock, no chance.

A case is a function whose sentence says what it tries. It returns the members of an archive; `@case` says what must become of it,
as an archive that ADD or `import` reads (`archive`), as a context (`context`, where that is not the same: it is written to the
disk) and as a layer of a base image (`layer`):

- a text: the error must have it in it; an empty text: any error will do
- a list: the tree it must become, a line each: `d/`, `f = content`, `f : size`, `l -> target`, `h == f` (a hard link), `p |`
  (a fifo), `c %` (a device), with ` @mode` where the mode is not the usual one
- `None`: it does not apply

A layer lies on another one that has `lower/dir/inner`, `lower/file` and `lower/link -> dir`.
"""

import bz2
import gzip
import json
import lzma
import os
import sys
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from raw import *  # noqa: E402,F403

CASES = []
LOWER = ["lower/", "lower/dir/", "lower/dir/inner = inner", "lower/file = file", "lower/link -> dir"]
NAMES = [f"h{at:04} == h0000" for at in range(1, 5000)]
SAME = object()


def without(path):
    """What lies below, without one path and what is in it."""
    return [line for line in LOWER if not line.startswith(path)]


def case(archive, layer=SAME, context=SAME, peak=None):
    """Says what must become of a case. `peak` is the number of MiB it may need, where that is more than usual."""

    def add(function):
        below = LOWER if isinstance(archive, list) else ""
        expected_layer = layer if layer is not SAME else archive and below + archive
        CASES.append((function, archive, expected_layer, archive if context is SAME else context, peak))
        return function

    return add


# Names


@case("climbs out")
def dot_dot_in_front():
    """A file beside the target, by `..`."""
    return [file(b"../outside/victim")]


@case("climbs out")
def dot_dot_in_the_middle():
    """A file beside the target, by more `..` than there are directories."""
    return [file(b"a/b/../../../outside/victim")]


@case("climbs out")
def dot_dot_alone():
    """The directory above the target."""
    return [directory(b"..", mode=octal(0o777, 8))]


@case("climbs out")
def dot_dot_in_a_pax_path():
    """A file beside the target, by the name in the PAX header while the plain one is harmless."""
    return [pax((b"path", b"../outside/victim")), file(b"harmless")]


@case("climbs out")
def dot_dot_in_a_gnu_name():
    """A file beside the target, by GNU's long name."""
    return [long_name(b"x/" * 60 + b"../" * 62 + b"outside/victim"), file(b"harmless")]


@case("climbs out")
def dot_dot_in_the_prefix():
    """A file beside the target, by ustar's prefix."""
    return [file(b"victim", prefix=b"../outside")]


@case("climbs out")
def dot_dot_in_a_sparse_name():
    """A file beside the target, by the name that sparse files have."""
    records = (b"GNU.sparse.major", b"0"), (b"GNU.sparse.name", b"../outside/victim"), (b"GNU.sparse.size", b"1")
    return [pax(*records, (b"GNU.sparse.minor", b"1"), (b"GNU.sparse.map", b"0,1")), file(b"harmless")]


@case(["etc/", "etc/kiln-hostile = x"])
def absolute_name():
    """A file in the machine's own `/etc`."""
    return [file(b"/etc/kiln-hostile")]


@case(["a/", "a/b/", "a/b/c = x", "d = x"])
def names_that_are_not_clean():
    """Names with `.` and empty components, and `..` that stays inside."""
    return [file(b"./a//./b/c"), file(b"x/y/../../d")]


@case("NUL")
def nul_in_a_name():
    """A name that ends for the kernel before it ends for the checks."""
    return [pax((b"path", b"a\0/../../outside/victim")), file(b"harmless")]


@case(["tab\\x09new\\x0aline = x", "\\xff = x"])
def odd_bytes_in_a_name():
    """Names that break listings: a line feed, a tab, a byte that is not UTF-8."""
    return [file(b"tab\tnew\nline"), file(b"\xff")]


@case(["n" * 300 + " = x"], "too long", context="too long")
def name_longer_than_a_component():
    """A component of 300 bytes, which no file system takes."""
    return [pax((b"path", b"n" * 300)), file(b"short")]


@case("more than")
def name_bomb():
    """A name of a megabyte."""
    return [extended(b"L", b"n" * (1 << 20)), file(b"short")]


@case("bytes of name")
def name_bomb_in_pax():
    """A name of 100 kilobytes, far beyond any path."""
    return [pax((b"path", b"n/" * 50_000)), file(b"short")]


@case(["d/" * depth for depth in range(1, 1001)] + ["d/" * 1000 + "f = x"])
def deep_path():
    """A path of a thousand directories, for what works by recursion."""
    return [long_name(b"d/" * 1000 + b"f"), file(b"short")]


@case(None, ["d = x"] + LOWER)
def deep_tree_that_is_replaced():
    """A file in place of a tree of two thousand directories, so that the tree must be removed."""
    return [long_name(b"d/" * 2000 + b"f"), file(b"short"), file(b"d")]


@case(None, "too long")
def path_longer_than_a_call_takes():
    """A path of more than two thousand directories, and more bytes than a system call takes."""
    return [long_name(b"d/" * 2100 + b"f"), file(b"short")]


@case("bytes of names", None)
def deep_paths_that_share_nothing():
    """Paths each of which implies thousands of directories, of a name of their own."""
    return [entry for at in range(200) for entry in (long_name(b"%d/" % at + b"d/" * 4000 + b"f"), file(b"short"))]


# Symlinks


@case(["l -> ../outside"])
def symlink_alone():
    """A symlink that leads outside, which is nobody's business until it is followed."""
    return [symlink(b"l", b"../outside")]


@case(["l -> ../outside", "outside/", "outside/victim = x"])
def parent_is_a_symlink_outside():
    """A file through a symlink that leads beside the target."""
    return [symlink(b"l", b"../outside"), file(b"l/victim")]


@case(["etc/", "etc/kiln-hostile = x", "l -> /etc"])
def parent_is_an_absolute_symlink():
    """A file through a symlink to the machine's own `/etc`."""
    return [symlink(b"l", b"/etc"), file(b"l/kiln-hostile")]


@case(["a -> ../../..", "b -> a", "c -> b/b/../../..", "victim = x"])
def parent_is_a_chain_of_symlinks():
    """A file through symlinks that lead to symlinks that climb."""
    return [symlink(b"a", b"../../.."), symlink(b"b", b"a"), symlink(b"c", b"b/b/../../.."), file(b"c/victim")]


@case("symlinks")
def symlink_to_itself():
    """A file through a symlink that leads to itself."""
    return [symlink(b"l", b"l"), file(b"l/x")]


@case("symlinks")
def symlinks_in_a_circle():
    """A file through symlinks that lead to each other."""
    return [symlink(b"a", b"b/x"), symlink(b"b", b"a/x"), file(b"a/y")]


@case("symlinks")
def symlinks_that_multiply():
    """Symlinks each of which leads through the one before twice: two to the power of sixty steps."""
    steps = [symlink(b"l0", b".")]
    steps += [symlink(b"l%d" % at, b"l%d/l%d" % (at - 1, at - 1)) for at in range(1, 60)]
    return steps + [file(b"l59/x")]


@case("bytes of a symlink's target")
def symlink_target_bomb():
    """A target of 6 kilobytes, which the kernel would not take and each look-up would follow."""
    return [long_name(b"../" * 2000, b"K"), symlink(b"l", b"short"), file(b"l/x")]


@case(["l = x"])
def file_over_a_symlink():
    """A file at the place of a symlink that leads outside: the link must go, not what it leads to."""
    return [symlink(b"l", b"../outside/victim"), file(b"l")]


@case(["d -> ../outside", "outside/", "outside/victim = x"])
def directory_becomes_a_symlink():
    """A directory that becomes a symlink between its members."""
    return [directory(b"d/"), file(b"d/f"), symlink(b"d", b"../outside"), file(b"d/victim")]


@case(["d/", "d/victim = x"])
def symlink_becomes_a_directory():
    """A symlink that becomes a directory between its members."""
    return [symlink(b"d", b"../outside"), directory(b"d/"), file(b"d/victim")]


@case("NUL")
def nul_in_a_target():
    """A symlink whose target has a NUL byte."""
    return [pax((b"linkpath", b"a\0b")), symlink(b"l", b"x")]


@case(["lower/", "lower/link/", "lower/link/x = x"], without("lower/link") + ["lower/link/", "lower/link/x = x"])
def parent_is_a_symlink_below():
    """A file through a symlink that a lower layer has: it becomes a directory of this layer."""
    return [file(b"lower/link/x")]


# Hard links


@case("climbs out")
def hard_link_outside():
    """Another name for a file beside the target."""
    return [hard(b"h", b"../outside/victim")]


@case("does not exist")
def hard_link_to_an_absolute_name():
    """Another name for the machine's own password file."""
    return [hard(b"h", b"/etc/shadow")]


@case(["h -> ../outside/victim", "l == h"])
def hard_link_to_a_symlink():
    """Another name for a symlink: never for what that leads to."""
    return [symlink(b"l", b"../outside/victim"), hard(b"h", b"l")]


@case("does not exist")
def hard_link_through_a_symlink():
    """Another name for a file that a symlink outside leads to."""
    return [symlink(b"l", b"../outside"), hard(b"h", b"l/victim")]


@case("does not exist", without("lower/file") + ["h = file", "lower/file == h"])
def hard_link_into_a_lower_layer():
    """Another name for a file that only a lower layer has."""
    return [hard(b"h", b"lower/file")]


@case("does not exist", ["h = file"] + without("lower/file"))
def hard_link_to_what_is_taken_away():
    """Another name for a file of a lower layer that this layer removes."""
    return [hard(b"h", b"lower/file"), file(b"lower/.wh.file", b"")]


@case("does not exist", LOWER + ["a = x", "b == a", "h == a"])
def hard_link_before_its_target():
    """Links that come before what they lead to, one by way of another."""
    return [hard(b"b", b"h"), hard(b"h", b"a"), file(b"a")]


@case("does not exist")
def hard_links_in_a_circle():
    """Two names for each other, and for nothing."""
    return [hard(b"a", b"b"), hard(b"b", b"a")]


@case("directory")
def hard_link_to_a_directory():
    """Another name for a directory, which would make a loop."""
    return [directory(b"d/"), hard(b"d/h", b"d")]


@case("directory")
def hard_link_to_the_root():
    """Another name for the root."""
    return [hard(b"h", b"/")]


@case("does not exist", "does not exist")
def hard_link_over_its_own_parent():
    """A link that removes the directory its target is in."""
    return [file(b"d/f"), hard(b"d", b"d/f")]


@case(["f = x"])
def hard_link_to_itself():
    """Another name that is the same name."""
    return [file(b"f"), hard(b"f", b"f")]


@case(["c %", "d == c"])
def hard_link_to_a_device():
    """Another name for a device, which perhaps was not made."""
    return [header(b"c", CHAR, major=1, minor=3), hard(b"d", b"c")]


@case(["a = x", "b = y"])
def write_through_a_hard_link():
    """A file over one of two names: the other must keep its content."""
    return [file(b"a", b"x"), hard(b"b", b"a"), file(b"b", b"y")]


# Devices, modes, owners


@case("marks deletions", context=[])
def device_that_marks_a_deletion():
    """A device that overlayfs takes for a deletion."""
    return [header(b"lower", CHAR)]


@case(["disk %", "null %", "p |"])
def devices():
    """Devices of the machine, which a user must not make and an image may have."""
    return [header(b"disk", BLOCK_DEVICE, major=8), header(b"null", CHAR, major=1, minor=3), header(b"p", FIFO)]


@case("device")
def device_number_bomb():
    """A device number that no kernel has."""
    return [header(b"c", CHAR, raw={329: base_256(1 << 40, 8)})]


@case(["s = x @6755"])
def set_id():
    """A file that runs as its owner, and type bits where only permissions should be."""
    return [file(b"s", mode=octal(0o106755, 8))]


@case("uid is no number")
def owner_that_is_none():
    """The owner -1, which tells the kernel to leave the owner as it is: root."""
    return [file(b"f", uid=base_256((1 << 32) - 1, 8), mode=octal(0o4755, 8))]


@case("uid is no number")
def owner_that_is_none_in_pax():
    """The owner -1 again, in a PAX header."""
    return [pax((b"uid", b"4294967295")), file(b"f")]


@case("uid is no number")
def owner_beyond_all_numbers():
    """An owner that wraps around to root in 32 bits."""
    return [pax((b"uid", b"4294967296")), file(b"f")]


@case(["f = x"])
def attribute_flood():
    """Attributes that no file system has room for: they are in the listing."""
    pairs = [(b"SCHILY.xattr.user.n%03d" % at, b"v" * 3000) for at in range(300)]
    return [pax(*pairs), file(b"f")]


@case(["d/", "d/f = x"])
def attributes_of_overlayfs():
    """Attributes that would make overlayfs hide the lower layers, or lead elsewhere."""
    marks = [b"trusted.overlay.opaque", b"user.overlay.opaque", b"trusted.overlay.redirect", b"user.overlay.metacopy"]
    return [pax(*((b"SCHILY.xattr." + mark, b"y") for mark in marks)), directory(b"d/"), file(b"d/f")]


@case("bytes of one attribute")
def attribute_bomb():
    """One attribute of 100 kilobytes."""
    return [pax((b"SCHILY.xattr.user.a", b"v" * 100_000)), file(b"f")]


@case("bytes of PAX header")
def pax_bomb():
    """A PAX header of two megabytes."""
    return [pax((b"comment", b"v" * (2 << 20))), file(b"f")]


@case("bytes of PAX header")
def pax_bomb_in_pieces():
    """Many PAX headers before one member."""
    return [pax((b"SCHILY.xattr.user.n%d" % at, b"v" * 60_000)) for at in range(40)] + [file(b"f")]


@case("not in base64")
def attribute_that_is_no_base64():
    """An attribute in libarchive's form that cannot be decoded."""
    return [pax((b"LIBARCHIVE.xattr.user.a", b"!!!")), file(b"f")]


# Sizes and headers that lie


@case("cut short")
def size_beyond_the_end():
    """A file that is said to be larger than the archive."""
    return [header(b"f", size=1 << 30), b"x" * 512]


@case("size is no number")
def negative_size():
    """A size below zero."""
    return [header(b"f", size_field=base_256(-1, 12)), padded(b"x")]


@case("more than")
def size_that_overflows():
    """A size that wraps around when it is rounded up."""
    return [pax((b"size", b"18446744073709551615")), header(b"f"), padded(b"x")]


@case("size is no number")
def size_that_is_text():
    """A size that is no number."""
    return [header(b"f", size_field=b"0x10       \0")]


@case("no tar header", "no tar header")
def wrong_checksum():
    """A second header whose checksum is wrong."""
    return [file(b"a"), file(b"b", checksum=b"000000\0 ")]


@case("no tar header")
def rubbish_after_a_member():
    """Bytes that are no header where one should be."""
    return [file(b"a"), b"\xff" * 512]


@case(["d/", "d/f = x"])
def directory_with_a_size():
    """A directory with a size, but without data."""
    return [directory(b"d/", size_field=octal(4096, 12)), file(b"d/f")]


@case("unknown type")
def unknown_type():
    """A type that nobody defined."""
    return [header(b"f", b"?")]


@case("multi-volume")
def part_of_a_volume():
    """The second part of a file of a multi-volume archive."""
    return [header(b"f", b"M", 1), padded(b"x")]


@case("PAX header")
def pax_record_that_lies():
    """A PAX record that is said to be longer than its header."""
    return [extended(b"x", b"999 path=x\n"), file(b"f")]


@case("number is malformed")
def pax_number_that_is_text():
    """A PAX size that is no number."""
    return [pax((b"size", b"1e9")), file(b"f")]


@case(["f = x"])
def global_name():
    """A global header that gives every member one name, size and attribute."""
    pairs = (b"path", b"../outside/victim"), (b"size", b"999999"), (b"linkpath", b"/"), (b"GNU.sparse.map", b"0,1")
    return [pax(*pairs, kind=b"g"), file(b"f")]


@case(["f = x"])
def number_with_a_sign_bit():
    """Owner and time below zero, in binary."""
    return [file(b"f", uid=base_256(-2, 8), mtime=base_256(-86_400, 12))]


@case("cut short")
def cut_in_a_header():
    """An archive that ends in the middle of a header."""
    return [file(b"a"), header(b"b")[:300], None]


@case("cut short")
def cut_in_a_content():
    """An archive that ends in the middle of a file."""
    return [header(b"f", size=10_000), b"x" * 5000, None]


@case("cut short")
def cut_in_a_pax_header():
    """An archive that ends in the middle of a PAX header."""
    return [header(b"extended", b"x", 4096), b"20 path=", None]


@case(["a = x"])
def second_archive_behind_the_end():
    """Another archive behind the end of the first, which says no more."""
    return [file(b"a"), END, file(b"../outside/victim")]


@case(["a = x"])
def rubbish_behind_the_end():
    """Bytes behind the end of the archive."""
    return [file(b"a"), END, b"rubbish" * 1000]


# Sparse files


@case(["disk : 67108864"])
def large_hole():
    """Some megabytes with a byte at either end."""
    size = 1 << 26
    return [gnu_sparse(b"disk", [(0, 1), (size - 1, 1)], size, b"ab")]


@case("bytes in holes")
def terabyte_of_hole():
    """A terabyte that is nothing but a hole."""
    return [gnu_sparse(b"disk", [], 1 << 40, b"", real=base_256(1 << 40, 12))]


@case("overlap")
def sparse_parts_that_overlap():
    """A sparse file whose parts overlap."""
    return [gnu_sparse(b"disk", [(0, 10), (5, 10)], 100, b"x" * 20)]


@case("beyond its end")
def sparse_part_beyond_the_end():
    """A sparse file with a part behind its end."""
    return [gnu_sparse(b"disk", [(0, 1), (1 << 32, 1)], 100, b"ab")]


@case("another amount of data")
def sparse_data_that_is_missing():
    """A sparse file with less data than its map says, so that the next header would be data."""
    return [gnu_sparse(b"disk", [(0, 2048)], 4096, b"x" * 10), file(b"f")]


@case("parts of one sparse file")
def sparse_map_bomb():
    """A sparse file with a million and more parts, in a map of PAX 1.0."""
    records = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"1")
    return [pax(*records, (b"GNU.sparse.name", b"disk")), file(b"x", padded(b"99999999\n0\n"))]


@case("no list of numbers")
def sparse_map_of_words():
    """A sparse file whose map is no list of numbers."""
    records = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"1")
    return [pax(*records, (b"GNU.sparse.name", b"disk")), file(b"x", padded(b"one\n"))]


@case("map is cut short")
def sparse_map_that_never_ends():
    """A sparse file whose content ends before its map does."""
    records = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"1")
    return [pax(*records, (b"GNU.sparse.name", b"disk")), file(b"x", (b"500\n" + b"0\n" * 1000)[:1024])]


# Collisions


@case("not a directory")
def file_as_a_directory():
    """A file below another file."""
    return [file(b"f"), file(b"f/g")]


@case(["d = y"])
def file_over_a_directory():
    """A file in place of a directory with something in it."""
    return [directory(b"d/"), file(b"d/f"), file(b"d", b"y")]


@case(["d/", "d/f = x"])
def directory_over_a_file():
    """A directory in place of a file."""
    return [file(b"d"), directory(b"d/"), file(b"d/f")]


@case(["x/"])
def one_name_of_every_kind():
    """One name that is every kind of thing in turn."""
    return [
        file(b"x"), symlink(b"x", b"/"), directory(b"x/"), header(b"x", FIFO), directory(b"x/"), symlink(b"x", b".."),
        header(b"x", CHAR, major=1, minor=3), file(b"x"), hard(b"x", b"x"), directory(b"x/"),
    ]


@case(["f = z"])
def one_name_again_and_again():
    """One name thousands of times."""
    return [file(b"f", b"%d" % at) for at in range(3000)] + [file(b"f", b"z")]


@case([], "layer's root")
def file_as_the_root():
    """A file in place of the root."""
    return [file(b".", b"x")]


@case([], "layer's root")
def symlink_as_the_root():
    """A symlink in place of the root."""
    return [symlink(b"/", b"../outside")]


@case(["d/ @700"])
def root_and_directory_twice():
    """The root and a directory, again and again."""
    return [directory(b"./"), directory(b"/"), directory(b"d/"), directory(b"d/", mode=octal(0o700, 8))]


# Whiteouts


@case("mark deletions", "names nothing")
def whiteout_of_nothing():
    """A whiteout that names the directory it is in."""
    return [file(b"lower/.wh.", b"")]


@case("mark deletions", "names nothing")
def whiteout_of_dot():
    """A whiteout of `.`: the directory it is in."""
    return [file(b"lower/.wh..", b"")]


@case("mark deletions", "names nothing")
def whiteout_of_dot_dot():
    """A whiteout of `..`: the directory above."""
    return [file(b"lower/.wh...", b"")]


@case("climbs out")
def whiteout_outside():
    """A whiteout of a file beside the target."""
    return [file(b"../outside/.wh.victim", b"")]


@case("mark deletions", ["l -> ../outside"] + LOWER)
def whiteout_through_a_symlink():
    """A whiteout of a file beside the target, through a symlink."""
    return [symlink(b"l", b"../outside"), file(b"l/.wh.victim", b"")]


@case("mark deletions", ["lower/", "lower/file = new"])
def whiteout_and_entry():
    """A whiteout after what replaces the removed file, and an opaque mark after what is new: neither is for its own layer."""
    return [file(b"lower/file", b"new"), file(b"lower/.wh.file", b""), file(b"lower/.wh..wh..opq", b"")]


@case("mark deletions", ["lower/", "lower/x = x"])
def opaque_directory_of_other_kinds():
    """An opaque mark that is a symlink, and one that is a directory."""
    return [symlink(b"lower/.wh..wh..opq", b"../outside"), directory(b"lower/.wh..wh..opq/"), file(b"lower/x")]


@case("mark deletions", "marks deletions")
def file_in_a_whiteout():
    """A file in a directory whose name marks a deletion."""
    return [file(b".wh.lower/x")]


@case("mark deletions", LOWER + ["a = x", "b == a"])
def aufs_bookkeeping():
    """What Docker's old storage driver left in layers: links to files that are no part of the image."""
    return [
        file(b".wh..wh.aufs", b""), directory(b".wh..wh.orph/"), directory(b".wh..wh.plnk/"),
        file(b".wh..wh.plnk/7.1"), hard(b"a", b".wh..wh.plnk/7.1"), hard(b"b", b".wh..wh.plnk/7.1"),
    ]


@case("mark deletions", "`/bin/busybox`: no such file")
def opaque_root():
    """An opaque mark in the root, which takes away everything below, also from a step."""
    return [file(b".wh..wh..opq", b""), file(b"x")]


@case("mark deletions", without("lower/dir"))
def whiteouts_within_whiteouts():
    """A whiteout below what another one takes away."""
    return [file(b"lower/.wh.dir", b""), file(b"lower/dir/.wh.inner", b"")]


@case("mark deletions", ["lower = x"])
def marks_below_a_file():
    """Marks in a directory that then becomes a file."""
    return [file(b"lower/.wh.dir", b""), file(b"lower/dir/.wh..wh..opq", b""), file(b"lower")]


# Bombs


def compressed(kind):
    """A gigabyte and more of zeros, compressed: one piece again and again."""
    compress = {"bzip2": bz2.compress, "xz": lambda plain: lzma.compress(plain, preset=1)}[kind]
    return [compress(header(b"f", size=(4 << 30) - 512)) + compress(b"\0" * (32 << 20)) * 40, None]


@case("times its size", None)
def bzip2_bomb():
    """Some kilobytes of bzip2 that become gigabytes."""
    return compressed("bzip2")


@case("times its size", None)
def xz_bomb():
    """Some kilobytes of xz that become gigabytes."""
    return compressed("xz")


@case("times its size")
def zstd_bomb():
    """Some kilobytes of zstd that become gigabytes."""
    return [zstd_frame(header(b"f", size=(4 << 30) - 512)) + zstd_frame(0, 10_000), None]


@case("more memory")
def zstd_window_bomb():
    """A zstd frame that needs two gigabytes of history."""
    return [zstd_frame(file(b"f") + END), zstd_frame(0, 1, window_log=31), None]


@case("more memory", None)
def xz_window_bomb():
    """An xz stream that needs more than a gigabyte of history."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]
    small = bytearray(lzma.compress(file(b"f") + END, filters=filters))
    # The size of the dictionary is one byte of the block's header, which has a checksum of its own.
    at = small.index(bytes([0x21, 0x01]), 12)
    small[at + 2] = 38
    end = 12 + (small[12] + 1) * 4
    small[end - 4 : end] = zlib.crc32(bytes(small[12 : end - 4])).to_bytes(4, "little")
    return [lzma.compress(file(b"a")), bytes(small), None]


@case("cannot read")
def gzip_that_is_cut():
    """A gzip stream that ends too early."""
    return [gzip.compress(file(b"f", b"x" * 100_000) + END, mtime=0)[:-20], None]


@case("cannot read the archive")
def gzip_that_is_damaged():
    """A gzip stream with a wrong checksum."""
    return [gzip.compress(file(b"f") + END, mtime=0)[:-8] + b"\0" * 8, None]


@case("cannot read the archive")
def gzip_with_rubbish_behind():
    """A gzip stream with something else behind it."""
    return [gzip.compress(file(b"f") + END, mtime=0) + b"rubbish", None]


@case(["a = x", "b = y"])
def gzip_of_many_members():
    """A gzip stream in pieces, one of them empty."""
    pieces = [file(b"a"), b"", file(b"b", b"y"), END]
    return [b"".join(gzip.compress(piece, mtime=0) for piece in pieces), None]


@case(["a = x"])
def zstd_with_skippable_frames():
    """A zstd stream between frames that decoders pass over, as those have that can be read in pieces."""
    frames = zstd_skippable(b"before"), zstd_frame(file(b"a")), zstd_frame(END), zstd_skippable(b"table" * 10)
    return [b"".join(frames), None]


@case(None, [f"f{at:04} = x" for at in range(5000)] + LOWER, peak=256)
def many_small_members():
    """Five thousand files."""
    return [file(b"f%04d" % at) for at in range(5000)]


@case(None, ["f = x"] + [f"h{at:04} == f" for at in range(5000)] + LOWER, peak=256)
def many_names_of_one_file():
    """Five thousand names of one file."""
    return [file(b"f")] + [hard(b"h%04d" % at, b"f") for at in range(5000)]


@case(None, without("lower/file") + ["h0000 = file", "lower/file == h0000"] + NAMES, peak=256)
def many_names_of_a_file_below():
    """Five thousand names of a file of a lower layer, which must not become as many copies."""
    return [hard(b"h%04d" % at, b"lower/file") for at in range(5000)]


@case("mark deletions", LOWER, peak=256)
def many_whiteouts():
    """Five thousand whiteouts of names that nobody has."""
    return [file(b"gone/.wh.n%04d" % at, b"") for at in range(5000)]


def main(target):
    """Writes all cases."""
    os.makedirs(target, exist_ok=True)
    cases = []
    for function, archive, layer, context, peak in CASES:
        members = function()
        # A case that ends in None has its own end.
        whole = b"".join(members[:-1]) if members[-1] is None else b"".join(members) + END
        name = function.__name__
        with open(os.path.join(target, name + ".tar"), "wb") as file_:
            file_.write(whole)
        tries = " ".join(function.__doc__.split())
        outcomes = {"archive": archive, "context": context, "layer": layer}
        cases.append({"name": name, "tries": tries, "peak": peak, **outcomes})
    with open(os.path.join(target, "cases.json"), "w") as file_:
        json.dump(cases, file_, indent=1)


if __name__ == "__main__":
    main(sys.argv[1])
