"""Tar members written field by field, so that every field can lie. Python's standard library only."""

import struct

BLOCK = 512
DIRECTORY, FILE, HARD, SYMLINK, CHAR, BLOCK_DEVICE, FIFO = b"5", b"0", b"1", b"2", b"3", b"4", b"6"


def octal(value, width):
    """Digits that fill a field but for its last byte."""
    return b"%0*o\0" % (width - 1, value)


def base_256(value, width):
    """A number in GNU's binary form."""
    bits = value % (1 << (8 * width))
    first = 0 if value < 0 else 0x80
    raw = bits.to_bytes(width, "big")
    return bytes([raw[0] | first]) + raw[1:]


def padded(body):
    """A body with the zeros that fill its last block."""
    return body + b"\0" * (-len(body) % BLOCK)


def header(name, kind=FILE, size=0, **fields):
    """One header. `fields` replace the bytes of any field: mode, uid, gid, size_field, mtime, magic, link, prefix, checksum…"""
    block = bytearray(BLOCK)

    def put(at, value, width):
        block[at : at + width] = value[:width].ljust(width, b"\0")

    put(0, name, 100)
    put(100, fields.get("mode", octal(0o755 if kind == DIRECTORY else 0o644, 8)), 8)
    put(108, fields.get("uid", octal(0, 8)), 8)
    put(116, fields.get("gid", octal(0, 8)), 8)
    put(124, fields.get("size_field", octal(size, 12)), 12)
    put(136, fields.get("mtime", octal(0, 12)), 12)
    put(156, kind, 1)
    put(157, fields.get("link", b""), 100)
    put(257, fields.get("magic", b"ustar\x0000"), 8)
    put(329, octal(fields.get("major", 0), 8), 8)
    put(337, octal(fields.get("minor", 0), 8), 8)
    put(345, fields.get("prefix", b""), 155)
    for at, value in fields.get("raw", {}).items():
        put(at, value, len(value))
    put(148, b" " * 8, 8)
    put(148, fields.get("checksum", b"%06o\0 " % sum(block)), 8)
    return bytes(block)


def file(name, body=b"x", **fields):
    """A regular file."""
    return header(name, FILE, len(body), **fields) + padded(body)


def directory(name, **fields):
    """A directory."""
    return header(name, DIRECTORY, **fields)


def symlink(name, target, **fields):
    """A symbolic link."""
    return header(name, SYMLINK, link=target, **fields)


def hard(name, target, **fields):
    """A hard link."""
    return header(name, HARD, link=target, **fields)


def extended(kind, body):
    """A header that says something about the next member, or about all."""
    return header(b"extended", kind, len(body)) + padded(body)


def record(key, value):
    """One record of a PAX header, with its own length in front."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def pax(*pairs, kind=b"x"):
    """A PAX header."""
    return extended(kind, b"".join(record(key, value) for key, value in pairs))


def long_name(name, kind=b"L"):
    """GNU's header for a long name (L) or the target of a link (K)."""
    return extended(kind, name + b"\0")


def gnu_sparse(name, parts, size, data, **fields):
    """A sparse file of GNU's own form; more than four parts stand in blocks of their own."""

    def numbers(some):
        return b"".join(octal(at, 12) + octal(length, 12) for at, length in some)

    first, rest = parts[:4], parts[4:]
    raw = {386: numbers(first), 482: b"\1" if rest else b"\0", 483: fields.pop("real", octal(size, 12))}
    blocks = header(name, b"S", len(data), magic=b"ustar  \0", raw=raw, **fields)
    while rest:
        some, rest = rest[:21], rest[21:]
        blocks += (numbers(some).ljust(504, b"\0") + (b"\1" if rest else b"\0")).ljust(BLOCK, b"\0")
    return blocks + padded(data)


END = b"\0" * (2 * BLOCK)


def zstd_frame(plain, repeat=1, window_log=None):
    """A zstd frame of blocks that are stored as they are, or of runs of the byte `plain`, 128 KiB each."""
    descriptor = b"\0" + bytes([((window_log or 17) - 10) << 3])
    blocks = []
    if isinstance(plain, int):
        blocks = [((128 << 10) << 3 | 1 << 1, bytes([plain]))] * repeat
    else:
        parts = [plain[at : at + (64 << 10)] for at in range(0, len(plain), 64 << 10)] or [b""]
        blocks = [(len(part) << 3, part) for part in parts]
    body = [struct.pack("<I", head | (at == len(blocks) - 1))[:3] + data for at, (head, data) in enumerate(blocks)]
    return b"\x28\xb5\x2f\xfd" + descriptor + b"".join(body)


def zstd_skippable(body):
    """A frame that decoders pass over."""
    return b"\x50\x2a\x4d\x18" + struct.pack("<I", len(body)) + body
