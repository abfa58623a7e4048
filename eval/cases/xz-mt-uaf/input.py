# An .xz stream of several blocks with sizes in their headers; one of them is damaged early.
import lzma
import random
import struct
import sys
import zlib

random.seed(3)
CHECK_NONE = 0


def number(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def block(plain, damage):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]
    packed = bytearray(lzma.compress(plain, lzma.FORMAT_RAW, filters=filters))
    if damage:
        packed[40:44] = b"\xff\xff\xff\xff"
        packed[6] ^= 0x55
    body = b"\xc0" + number(len(packed)) + number(len(plain)) + b"\x21\x01\x08"
    size = (len(body) + 1 + 4 + 3) // 4 * 4
    head = bytes([size // 4 - 1]) + body
    head += b"\0" * (size - 4 - len(head))
    head += struct.pack("<I", zlib.crc32(head))
    return head + packed + b"\0" * (-len(packed) % 4), (len(head) + len(packed), len(plain))


flags = bytes([0, CHECK_NONE])
stream = b"\xfd7zXZ\0" + flags + struct.pack("<I", zlib.crc32(flags))
records = []
for index in range(4):
    plain = bytes(random.choices(b"abcdefgh", k=20000))
    data, record = block(plain, index == 1)
    stream += data
    records.append(record)
index = b"\0" + number(len(records)) + b"".join(number(a) + number(b) for a, b in records)
index += b"\0" * (-len(index) % 4)
index += struct.pack("<I", zlib.crc32(index))
foot = struct.pack("<I", len(index) // 4 - 1) + flags
sys.stdout.buffer.write(stream + index + struct.pack("<I", zlib.crc32(foot)) + foot + b"YZ")
