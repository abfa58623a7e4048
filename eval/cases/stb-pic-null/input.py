"""Writes a Softimage picture of three channels, one of whose last lines is longer than the picture is wide."""

import struct
import sys

WIDTH, HEIGHT, BAD_LINE = 240, 120, 112


def line(number):
    """A stretch of one colour, a stretch as it is, and so on."""
    text, x = b"", 0
    while x < WIDTH:
        count = min(30, WIDTH - x)
        pixels = [bytes(((x + i) & 255, number, (x * number) & 255)) for i in range(count)]
        if (x // 30 + number) % 2:
            text += bytes([127 + count]) + pixels[0]
        else:
            text += bytes([count - 1]) + b"".join(pixels)
        x += count
    return text


head = b"\x53\x80\xf6\x34" + bytes(84) + b"PICT" + struct.pack(">HHIHH", WIDTH, HEIGHT, 0, 0, 0)
packet = bytes([0, 8, 2, 0xE0])  # the only one, 8 bits, stretches, red and green and blue
lines = b"".join(line(number) for number in range(BAD_LINE))
too_long = b"\xff\x01\x02\x03" * 2
sys.stdout.buffer.write(head + packet + lines + too_long)
