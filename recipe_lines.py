"""Where each key of a TOML text stands: tomllib gives values without lines, tree-sitter gives lines without values."""

import tomllib
from collections.abc import Iterable, Iterator

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

Step = str | int  # a key of a table, or a place in an array counted from 0


class Place:
    """The line, from 1, on which a key, table or array item begins, and the places below it."""

    __slots__ = ("below", "line")

    def __init__(self, line: int) -> None:
        self.line = line
        self.below: dict[Step, Place] = {}

    def at(self, path: Iterable[Step]) -> "Place":
        """The place of what lies at ``path``, or of the innermost thing around it that has one."""
        place = self
        for step in path:
            if step not in place.below:
                break
            place = place.below[step]
        return place

    def rename(self, key: Step, name: Step) -> None:
        """Let what is found under ``key`` be found under ``name``."""
        if key in self.below:
            self.below[name] = self.below.pop(key)

    def wrap(self) -> None:
        """A table becomes the one item of an array."""
        item = Place(self.line)
        item.below, self.below = self.below, {0: item}

    def unwrap(self) -> None:
        """An array becomes its first item."""
        first = self.below.get(0)
        self.below = first.below if first else {}


def places(text: str) -> Place:
    """The places in ``text``, which tomllib has accepted. Arrays of tables and arrays of values look alike."""
    root = Place(1)
    parser = Parser(Language(tree_sitter_toml.language()))
    pending = [(node, root) for node in reversed(parser.parse(text.encode()).root_node.children)]
    while pending:  # no recursion: the depth is the user's
        node, place = pending.pop()
        if node.type in ("table", "table_array_element"):
            place = _descend(root, node.children[1], node, append=node.type == "table_array_element")
            pending += [(child, place) for child in reversed(node.children) if child.type == "pair"]
        elif node.type == "pair":
            inner = _descend(place, node.children[0], node)
            pending += [(child, inner) for child in node.children[2:]]
        elif node.type == "inline_table":
            pending += [(child, place) for child in reversed(node.children) if child.type == "pair"]
        elif node.type == "array":
            items = [child for child in node.named_children if child.type != "comment"]
            for index, item in enumerate(items):
                place.below[index] = Place(_line(item))
                pending.append((item, place.below[index]))
    return root


def _descend(place: Place, key: Node, owner: Node, *, append: bool = False) -> Place:
    """The place that a plain or dotted ``key`` names, made where new; a step into an array means its last item."""
    steps = list(_steps(key))
    for number, step in enumerate(steps, 1):
        if 0 in place.below:
            place = place.below[len(place.below) - 1]
        last = number == len(steps)
        if step not in place.below or (last and not append):
            known = place.below.get(step)
            place.below[step] = Place(_line(owner))
            place.below[step].below = known.below if known else {}
        place = place.below[step]
    if append:
        place.below[len(place.below)] = Place(_line(owner))
        place = place.below[len(place.below) - 1]
    return place


def _steps(key: Node) -> Iterator[str]:
    """The parts of ``a."b c".d``, unquoted."""
    pending = [key]
    while pending:
        node = pending.pop()
        if node.type == "dotted_key":
            pending += reversed(node.named_children)
        elif node.type == "quoted_key":
            yield next(iter(tomllib.loads(_text(node) + "=0")))
        else:
            yield _text(node)


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _line(node: Node) -> int:
    return node.start_point.row + 1
