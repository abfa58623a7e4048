# Applies two patches; the second copies more than its result holds.
import io
import sys

sys.path.insert(0, ".")
from bsdiff4 import format


def patch(result, control, diff, extra):
    file = io.BytesIO()
    format.write_patch(file, result, control, diff, extra)
    return file.getvalue()


old = bytes(range(256)) * 128
good = patch(32768 + 2048, [(32768, 2048, 0)], bytes(32768), old[:2048])
bad = patch(32768 + 1000, [(16384, 500, 0), (16384, 40_000, 0)], bytes(32768), bytes(40_500))
for data in (good, bad):
    print(len(format.patch(old, data)))
