"""Writes the public items of a crate as text, one a line, by rustdoc's JSON: python3 public-api.py JSON...

The first crate is listed whole. Of the others, the project's own, only what the first hands on (`pub use`)
or names in a signature, and what those name in turn: a change there changes the first one's API too.
Fails when a type or trait of yet another project is named.
"""

import json
import sys

OWN = "rept_"
STANDARD = ("std", "core", "alloc")
# What the compiler finds out by itself and nobody writes down; Send and Sync are promised.
UNSAID = ("Freeze", "RefUnwindSafe", "StructuralPartialEq", "Unpin", "UnsafeUnpin", "UnwindSafe")


class Crate:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.json = json.load(file)
        self.index = self.json["index"]
        self.paths = self.json["paths"]
        self.root = self.index[str(self.json["root"])]
        self.name = self.root["name"]
        self.named, self.foreign = set(), set()

    def item(self, number):
        return self.index.get(str(number))

    def path_of(self, number):
        """The path of a type or trait, and whether it is of another crate."""
        found = self.paths.get(str(number))
        return (found["path"], found["crate_id"] != 0) if found else ([], False)


def joined(parts, between=", "):
    return between.join(part for part in parts if part)


class Writer:
    """Types and signatures of one crate as Rust has them, near enough to be compared."""

    def __init__(self, crate):
        self.crate = crate

    def path(self, node):
        path, foreign = self.crate.path_of(node["id"])
        self.name(path, foreign)
        name = path[-1] if path else node.get("path", "?").rsplit("::", 1)[-1]
        return name + self.arguments(node.get("args"))

    def name(self, path, foreign):
        if foreign and path and path[0].startswith(OWN):
            self.crate.named.add((path[0], path[-1]))
        elif foreign and (not path or path[0] not in STANDARD):
            self.crate.foreign.add("::".join(path) or "a type without a path")

    def arguments(self, args):
        if not args:
            return ""
        if "angle_bracketed" in args:
            inner = [self.argument(one) for one in args["angle_bracketed"]["args"]]
            for bound in args["angle_bracketed"]["constraints"]:
                inner.append(bound["name"] + self.binding(bound["binding"]))
            return f"<{joined(inner)}>" if inner else ""
        inner = args["parenthesized"]
        out = inner["output"]
        return f"({joined(map(self.type, inner['inputs']))})" + (f" -> {self.type(out)}" if out else "")

    def binding(self, node):
        if "equality" in node:
            return f" = {self.argument(node['equality'])}"
        return f": {self.bounds(node['constraint'])}"

    def argument(self, node):
        if "lifetime" in node:
            return node["lifetime"]
        if "const" in node:
            return node["const"]["expr"]
        return self.type(node["type"]) if "type" in node else "_"

    def type(self, node):
        if node is None:
            return "()"
        if not isinstance(node, dict):
            return str(node)
        (kind, value), = node.items()
        write = getattr(self, "type_" + kind, None)
        # A kind that a newer rustdoc brings is compared as it stands, with whatever it holds.
        return write(value) if write else f"{kind} {json.dumps(value, sort_keys=True)}"

    def type_resolved_path(self, node):
        return self.path(node)

    def type_generic(self, name):
        return name

    type_primitive = type_generic

    def type_tuple(self, inner):
        return f"({joined(map(self.type, inner))})"

    def type_slice(self, inner):
        return f"[{self.type(inner)}]"

    def type_array(self, node):
        return f"[{self.type(node['type'])}; {node['len']}]"

    def type_borrowed_ref(self, node):
        lifetime = f"{node['lifetime']} " if node["lifetime"] else ""
        return f"&{lifetime}{'mut ' if node['is_mutable'] else ''}{self.type(node['type'])}"

    def type_qualified_path(self, node):
        return f"{self.type(node['self_type'])}::{node['name']}"

    def type_impl_trait(self, bounds):
        return "impl " + self.bounds(bounds)

    def type_dyn_trait(self, node):
        lifetime = [node["lifetime"]] if node["lifetime"] else []
        return "dyn " + joined([self.path(one["trait"]) for one in node["traits"]] + lifetime, " + ")

    def type_function_pointer(self, node):
        inputs = [self.type(one[1]) for one in node["sig"]["inputs"]]
        return f"fn({joined(inputs)}) -> {self.type(node['sig']['output'])}"

    def bounds(self, bounds):
        return joined(map(self.bound, bounds), " + ")

    def bound(self, node):
        if "trait_bound" in node:
            mark = {"maybe": "?"}.get(node["trait_bound"]["modifier"], "")
            return mark + self.path(node["trait_bound"]["trait"])
        return str(node.get("outlives", node.get("use", node)))

    def generics(self, node):
        shown = []
        for one in node["params"]:
            (kind, value), = one["kind"].items()
            bounds = self.bounds(value["bounds"]) if kind == "type" else joined(value.get("outlives", []), " + ")
            if not (kind == "type" and value["is_synthetic"]):
                shown.append(one["name"] + (f": {bounds}" if bounds else ""))
        where = [f"{self.type(one['bound_predicate']['type'])}: {self.bounds(one['bound_predicate']['bounds'])}"
                 for one in node["where_predicates"] if "bound_predicate" in one]
        return f"<{joined(shown)}>" if shown else "", f" where {joined(where)}" if where else ""

    def input(self, name, kind):
        is_self = name == "self" and kind.endswith("Self")
        return f"{kind[:-4]}self" if is_self else f"{name}: {kind}"

    def function(self, name, node):
        parameters, where = self.generics(node["generics"])
        inputs = [self.input(name, self.type(kind)) for name, kind in node["sig"]["inputs"]]
        out = node["sig"]["output"]
        header = node["header"]
        words = [word for word in ("const", "async", "unsafe") if header[f"is_{word}"]]
        return joined([*words, f"fn {name}{parameters}({joined(inputs)})"], " ") + (
            f" -> {self.type(out)}" if out else "") + where


class Listing:
    def __init__(self, crate):
        self.crate, self.write, self.lines, self.seen = crate, Writer(crate), set(), set()

    def say(self, path, text):
        self.lines.add(f"{path}: {text}")

    def module(self, item, path):
        if item["id"] in self.seen:
            return
        self.seen.add(item["id"])
        for number in item["inner"]["module"]["items"]:
            self.of(self.crate.item(number), path)

    def of(self, item, path, name=None):
        if item is None or item["visibility"] not in ("public", "default"):
            return
        (kind, node), = item["inner"].items()
        if kind == "use":
            return self.use(node, path)
        place = f"{path}::{name or item['name']}"
        open_ended = " (non_exhaustive)" if "non_exhaustive" in item["attrs"] else ""
        getattr(self, "item_" + kind, self.item_other)(item, node, place, open_ended)

    def use(self, node, path):
        target = self.crate.item(node["id"]) if node["id"] is not None else None
        if target and node["is_glob"]:
            return self.module(target, path)
        if target:
            return self.of(target, path, node["name"])
        found, _ = self.crate.path_of(node["id"])
        self.write.name(found or node["source"].split("::"), True)
        self.say(f"{path}::{node['name']}", f"use {'::'.join(found) or node['source']}")

    def item_module(self, item, node, place, _):
        self.say(place, "mod")
        self.module(item, place)

    def item_struct(self, item, node, place, open_ended):
        parameters, where = self.write.generics(node["generics"])
        self.say(place, f"struct{parameters}{where}{open_ended}")
        self.fields(node["kind"], place)
        self.implementations(node, place)

    def fields(self, kind, place):
        if isinstance(kind, str):
            return
        (_, node), = kind.items()
        for number in node["fields"] if isinstance(node, dict) else node:
            field = self.crate.item(number)
            if field and field["visibility"] in ("public", "default"):
                self.say(f"{place}.{field['name']}", self.write.type(field["inner"]["struct_field"]))
        if isinstance(node, dict) and node["has_stripped_fields"]:
            self.say(place, "has private fields")

    def item_enum(self, item, node, place, open_ended):
        parameters, where = self.write.generics(node["generics"])
        self.say(place, f"enum{parameters}{where}{open_ended}")
        for number in node["variants"]:
            variant = self.crate.item(number)
            ended = " (non_exhaustive)" if "non_exhaustive" in variant["attrs"] else ""
            self.say(f"{place}::{variant['name']}", f"variant{ended}")
            self.fields(variant["inner"]["variant"]["kind"], f"{place}::{variant['name']}")
        self.implementations(node, place)

    def item_trait(self, item, node, place, _):
        parameters, where = self.write.generics(node["generics"])
        bounds = self.write.bounds(node["bounds"])
        self.say(place, f"trait{parameters}: {bounds}{where}")
        for number in node["items"]:
            inner = self.crate.item(number)
            given = inner["inner"].get("function", {}).get("has_body")
            self.of(inner, f"{place}{' (provided)' if given else ''}")

    def item_function(self, item, node, place, _):
        self.say(place, self.write.function(item["name"], node))

    def item_constant(self, item, node, place, _):
        self.say(place, f"const {self.write.type(node['type'])}")

    def item_type_alias(self, item, node, place, _):
        self.say(place, f"type {self.write.type(node['type'])}")

    def item_assoc_const(self, item, node, place, _):
        self.say(place, f"const {self.write.type(node['type'])}")

    def item_other(self, item, node, place, _):
        self.say(place, next(iter(item["inner"])))

    def implementations(self, node, place):
        traits = []
        for number in node["impls"]:
            found = self.crate.item(number)["inner"]["impl"]
            if found["blanket_impl"]:
                continue
            if found["trait"] is None:
                for inner in found["items"]:
                    self.of(self.crate.item(inner), place)
            elif not self.write.path(found["trait"]).startswith(UNSAID):
                not_so = "!" if found["is_negative"] else ""
                traits.append(not_so + self.write.path(found["trait"]))
        if traits:
            self.say(place, f"impl {joined(sorted(traits))}")


def main():
    first, *others = [Crate(path) for path in sys.argv[1:]]
    listing = Listing(first)
    listing.module(first.root, first.name)
    lines, wanted, done = set(listing.lines), set(first.named), set()
    crates = {crate.name: crate for crate in others}
    while wanted - done:
        name = min(wanted - done)
        done.add(name)
        crate = crates.get(name[0])
        if crate is None:
            sys.exit(f"{'::'.join(name)} is in the API of {first.name}, and its crate is not among those given")
        lines |= handed_on(crate, name[1])
        wanted |= crate.named
    foreign = {path for crate in (first, *others) for path in crate.foreign}
    if foreign:
        sys.exit("types of other projects in the public API:\n" + "\n".join(sorted(foreign)))
    print(f"# rustdoc's JSON, format {first.json['format_version']}")
    print("\n".join(sorted(lines)))


def handed_on(crate, name):
    """The lines of what a crate calls so."""
    part = Listing(crate)
    for number, found in crate.paths.items():
        if found["crate_id"] == 0 and found["path"][-1] == name and crate.item(number):
            part.of(crate.item(number), "::".join(found["path"][:-1]))
    return part.lines


main()
