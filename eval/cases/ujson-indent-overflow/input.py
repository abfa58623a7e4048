# Writes a nested document with ever wider indentation.
import sys

sys.path.insert(0, ".")
import ujson

document = {"title": "list", "rows": [[number, str(number)] for number in range(3)]}
for level in range(36):
    document = [level, document]
for width in (0, 1, 4, 1200):
    print(len(ujson.dumps(document, indent=width)))
