# A DER list of general names, at its end two of kind EDIPartyName without anything in them.
import sys


def field(tag, content):
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x82, size >> 8, size & 0xFF])
    return bytes([tag]) + length + content


names = [field(0x82, f"www{number}.example.org".encode()) for number in range(20)]
party = field(0xA5, b"")
sys.stdout.buffer.write(field(0x30, b"".join(names) + party + party))
