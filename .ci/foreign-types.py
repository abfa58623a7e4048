"""Says which types of other projects the public API of a crate names, by rustdoc's JSON."""

import json
import sys

OWN = ("rept_", "std", "core", "alloc")


def paths(node):
    """Ids of the types and traits that a part of an item names."""
    if isinstance(node, dict):
        if isinstance(node.get("id"), int) and ("path" in node or "name" in node):
            yield node["id"]
        for value in node.values():
            yield from paths(value)
    elif isinstance(node, list):
        for value in node:
            yield from paths(value)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        documented = json.load(file)
    crates = documented["external_crates"]
    foreign, looked_at = set(), 0
    for item in documented["index"].values():
        if item["crate_id"] != 0:
            continue
        implementation = item["inner"].get("impl")
        if implementation and (implementation["blanket_impl"] or implementation["is_synthetic"]):
            continue
        for named in paths(item["inner"]):
            path = documented["paths"].get(str(named))
            if path is None or path["crate_id"] == 0:
                continue
            looked_at += 1
            crate = crates[str(path["crate_id"])]["name"]
            if not crate.startswith(OWN):
                foreign.add(f"{item['name']} names {'::'.join(path['path'])}")
    if looked_at == 0:
        sys.exit("no type of any other crate was found: this script does not understand the JSON")
    if foreign:
        sys.exit("types of other projects in the public API:\n" + "\n".join(sorted(foreign)))
    print(f"   no type of another project among {looked_at} that are named")


main()
