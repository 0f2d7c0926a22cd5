"""Which knobs of a schema a program's source reads: the types of sections followed from annotations to attributes.

A knob is read where `x.name` is loaded and x is of its section: an annotated argument or field, `config.section`, what
was assigned from one, what a function returns by its annotation or was given the class of. `getattr(x, name)` over
names reads those that the same function has: as words, as words of a constant of a module, or as fields of a dataclass
or named tuple whose names it goes through.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from genrec.config import Section, walk

LOOKED_AT = (ast.Attribute, ast.Call, ast.Assign, ast.NamedExpr, ast.Name, ast.Constant)
LEAVES = (ast.Name, ast.Constant)

Types = dict[str, set[str]]  # a variable, attribute or function -> names of the sections that it may be


def parse_sources(folders: Iterable[Path], without: Iterable[str] = ()) -> list[ast.Module]:
    """The modules below these folders, those of the schema itself left out."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.py") if path.name not in set(without))
    return [ast.parse(path.read_text(encoding="utf-8")) for path in paths]


def find_unread(schemas: Iterable[type[Section]], modules: list[ast.Module]) -> list[str]:
    """Schema.dotted.knob of all that no line of the modules reads; what classes inherit is read for all of them."""
    schemas = list(schemas)
    read = Reader({one.__name__: one for schema in schemas for one in sections_of(schema)}, modules).read
    return [f"{one.__name__}.{path}" for one in schemas for path, _ in walk(one) if not is_read(one, path, read)]


def is_read(schema: type[Section], path: str, read: set[tuple[str, str]]) -> bool:
    owner, (*above, name) = schema, path.split(".")
    for part in above:
        owner = owner.model_fields[part].annotation
    kin = [one.__name__ for one in sections_of(schema) if issubclass(one, owner) or issubclass(owner, one)]
    return any((one, name) in read for one in kin)


def sections_of(schema: type[Section]) -> list[type[Section]]:
    """The schema, all sections below it, and the sections that these inherit from."""
    found = [one for one in schema.__mro__ if issubclass(one, Section) and one is not Section]
    for field in schema.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found += sections_of(field.annotation)
    return list(dict.fromkeys(found))


class Reader:
    """Goes through all modules until nothing more is known of their types; `read` holds (section, field)."""

    def __init__(self, sections: Mapping[str, type[Section]], modules: list[ast.Module]):
        self.sections, self.read = sections, set[tuple[str, str]]()
        self.attributes: Types = defaultdict(set)
        self.functions: Types = defaultdict(set)
        self.dataclass_fields: dict[str, list[str]] = {}
        self.constants: dict[str, list[str]] = defaultdict(list)  # of modules
        for target, value in (pair for module in modules for node in module.body for pair in assignments(node)):
            self.constants[getattr(target, "id", "")] += strings_in(ast.walk(value))
        for node in (node for module in modules for node in ast.walk(module)):
            self.note_annotations(node)
        for _ in range(2):  # what one module assigns to an attribute another may read
            for module in modules:
                self.visit(module, {})

    def note_annotations(self, node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef) and (returned := self.named_in(node.returns)):
            self.functions[node.name] |= returned
        if isinstance(node, ast.ClassDef):
            fields = [one for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
            self.dataclass_fields[node.name] = [one.target.id for one in fields]
            for one in fields:
                if named := self.named_in(one.annotation):
                    self.attributes[one.target.id] |= named

    def named_in(self, annotation: ast.AST | None) -> set[str]:
        nodes = list(ast.walk(annotation)) if annotation is not None else []
        return {node.id for node in nodes if isinstance(node, ast.Name)} & self.sections.keys()

    def visit(self, function: ast.AST, outer: Types) -> None:
        """A function's own lines, then the functions within it, which see its variables."""
        variables = {**outer, **self.arguments_of(function)}
        own, inner = split_nodes(function)
        for target, value in (pair for node in own for pair in assignments(node)):
            if types := self.types_of(value, variables):
                self.note_target(target, types, variables)
        for node in own:
            self.note_read(node, own, variables)
        for one in inner:
            self.visit(one, variables)

    def arguments_of(self, function: ast.AST) -> Types:
        if isinstance(function, ast.Lambda):  # `lambda config:` of a table
            return {one.arg: {"Config"} & self.sections.keys() for one in function.args.args if one.arg == "config"}
        if not isinstance(function, ast.FunctionDef):
            return {}
        arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        return {one.arg: self.named_in(one.annotation) for one in arguments}

    def note_target(self, target: ast.expr, types: set[str], variables: Types) -> None:
        if isinstance(target, ast.Name):
            variables[target.id] = variables.get(target.id, set()) | types
        elif isinstance(target, ast.Attribute):
            self.attributes[target.attr] |= types

    def note_read(self, node: ast.AST, own: list[ast.AST], variables: Types) -> None:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            self.note_names(node.value, [node.attr], variables)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            self.note_names(node.args[0], self.names_of(node.args[1], own), variables)

    def note_names(self, value: ast.expr, names: list[str], variables: Types) -> None:
        for section in self.types_of(value, variables):
            self.read |= {(section, name) for name in names if name in self.sections[section].model_fields}

    def names_of(self, name: ast.expr, own: list[ast.AST]) -> list[str]:
        """What the second argument of getattr may be; f"{name}_end" is a name of the function with that end."""
        if isinstance(name, ast.Constant):
            return [name.value]
        end = "".join(strings_in(name.values)) if isinstance(name, ast.JoinedStr) else ""
        return [word + end for word in self.words_in(own)]

    def words_in(self, nodes: list[ast.AST]) -> list[str]:
        words = strings_in(nodes)
        for node in nodes:
            if isinstance(node, ast.Name):
                words += self.constants.get(node.id, [])
            if isinstance(node, ast.Attribute) and node.attr in ("__dataclass_fields__", "_fields"):
                words += self.dataclass_fields.get(getattr(node.value, "id", ""), [])
        return words

    def types_of(self, value: ast.expr, variables: Types) -> set[str]:
        match value:
            case ast.Name(id=name):
                return variables.get(name, set())
            case ast.Attribute(value=base, attr=name):
                owners = self.types_of(base, variables)
                if not owners:
                    return self.attributes.get(name, set())
                kept = owners if name == "config" else set()  # of a command that was given the class
                return {one for owner in owners for one in self.field_type(owner, name)} or kept
            case ast.Call(func=ast.Attribute(value=base, attr="model_copy")):
                return self.types_of(base, variables)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=given):
                classes = {one.id for each in given for one in ast.walk(each) if isinstance(one, ast.Name)} | {name}
                return classes & self.sections.keys() or self.functions.get(name, set())
            case ast.IfExp(body=one, orelse=other):
                return self.types_of(one, variables) | self.types_of(other, variables)
            case ast.NamedExpr(value=inner):
                return self.types_of(inner, variables)
        return set()

    def field_type(self, owner: str, name: str) -> set[str]:
        field = self.sections[owner].model_fields.get(name)
        return {getattr(field.annotation, "__name__", "")} & self.sections.keys() if field else set()


@cache
def split_nodes(function: ast.AST) -> tuple[list[ast.AST], list[ast.AST]]:
    """What a function does itself, in order, as far as it is looked at, and the functions within it."""
    own, inner, waiting = [], [], [*ast.iter_child_nodes(function)][::-1]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            inner.append(node)
            continue
        if isinstance(node, LOOKED_AT):
            own.append(node)
        if not isinstance(node, LEAVES):
            waiting += [*ast.iter_child_nodes(node)][::-1]
    return own, inner


def strings_in(nodes: Iterable[ast.AST]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def assignments(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(target, value), of tuples one by one."""
    if isinstance(node, ast.NamedExpr):
        yield node.target, node.value
    for target in node.targets if isinstance(node, ast.Assign) else ():
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value
