"""Changes inputs at random: bytes, lines of text, trees of JSON, members of zip archives."""

import copy
import io
import json
import struct
import zipfile
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutator = Callable[[Random, Sequence[bytes]], bytes]
"""An input made of the corpus."""

_INTEGERS = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
_WORDS = (
    *(
        "",
        "~",
        "null",
        "true",
        "no",
        "0",
        "-1",
        "1",
        "2",
        "64",
        "1e400",
        "-1e-3",
        ".nan",
        ".inf",
        "-.inf",
        "0x1F",
        "1_0",
    ),
    *("9" * 30, "1.5", "2024-13-45", "'", '"', "[]", "{}", "[1, [2]]", "{a: b}", "&a", "*a", "!!int x", "!!binary a"),
    *(
        "!!python/object:os.system",
        "..",
        "../..",
        "/",
        "/etc/passwd",
        "a" * 300,
        "\u0000",
        "\u2028",
        "\ud83d\ude00",
        "é",
    ),
    *("{id}", "{split}", "{region}", "{id", "}", "*", "**", "%", "\t", "\r", ",", ";", ":", "- ", "? ", "|", ">", "#"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, 2**31, 2**63, 10**30, "", "a", "0", "nan", "\0", "é"),
    *([], {}, [0], [[]], {"a": 1}, [None], "/etc/passwd", "train", [1, 2, 3], "<f4", "|O", "float32"),
)


def of_bytes(random: Random, corpus: Sequence[bytes]) -> bytes:
    """One of the corpus with up to eight changes of a few bytes."""
    data = bytearray(random.choice(corpus))
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        random.choice(_CHANGES)(random, data, corpus)
    return bytes(data)


def _flip(random: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[_place(random, data)] ^= 1 << random.randrange(8)


def _put(random: Random, data: bytearray, _: Sequence[bytes]) -> None:
    """A number of one to eight bytes in the place of another."""
    size, order = random.choice((1, 2, 4, 8)), random.choice("<>")
    kind = {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
    number = random.choice(_INTEGERS) % (1 << 8 * size)
    place = _place(random, data)
    data[place : place + size] = struct.pack(order + kind, number)


def _drop(random: Random, data: bytearray, _: Sequence[bytes]) -> None:
    place = _place(random, data)
    del data[place : place + random.choice((1, 2, 4, 16, 64, 1024))]


def _end(random: Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[_place(random, data) :]


def _repeat(random: Random, data: bytearray, _: Sequence[bytes]) -> None:
    place, size = _place(random, data), random.choice((1, 4, 16, 64))
    data[place:place] = data[place : place + size] * random.choice((1, 2, 8))


def _splice(random: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    """A part of another input over the same place, or over any."""
    other = random.choice(corpus)
    start, size = _place(random, other), random.choice((4, 8, 32, 256))
    place = start if random.random() < 0.7 else _place(random, data)
    data[place : place + size] = other[start : start + size]


_CHANGES = (_flip, _flip, _put, _put, _put, _drop, _end, _repeat, _splice)


def _place(random: Random, data: Sequence[int]) -> int:
    """Mostly among the first bytes, where formats say what follows."""
    end = len(data) if random.random() < 0.4 else min(len(data), 512)
    return random.randrange(end) if end else 0


def of_text(random: Random, corpus: Sequence[bytes]) -> bytes:
    """Lines, words and characters put in, left out, moved and exchanged."""
    if random.random() < 0.1:
        return of_bytes(random, corpus)
    lines = random.choice(corpus).decode().splitlines()
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(lines)) if lines else 0
        line = lines[place] if lines else ""
        match random.randrange(6):
            case 0:
                del lines[place : place + 1]
            case 1:
                lines.insert(random.randrange(len(lines) + 1), line)
            case 2:
                lines[place : place + 1] = [line[: len(line) - len(line.lstrip())] + random.choice(_WORDS)]
            case 3:
                lines[place : place + 1] = [" " * random.randrange(4) + line.lstrip()]
            case _:
                lines[place : place + 1] = [_reworded(random, line)]
    return "\n".join(lines).encode(errors="surrogatepass") + b"\n"


def _reworded(random: Random, line: str) -> str:
    """With a word of a line, or what follows its key, exchanged."""
    key, colon, _ = line.partition(": ")
    if colon and random.random() < 0.5:
        return f"{key}: {random.choice(_WORDS)}"
    words = line.replace(",", " , ").split(" ")
    words[random.randrange(len(words))] = random.choice(_WORDS)
    return " ".join(words)


def changed_tree(random: Random, tree: Any) -> Any:
    """A tree of JSON with up to four values exchanged, left out, repeated or put elsewhere."""
    tree = copy.deepcopy(tree)
    for _ in range(random.choice((1, 1, 2, 4))):
        holders = list(_holders(tree))
        if not holders:
            return copy.deepcopy(random.choice(_VALUES))
        holder, key = random.choice(holders)
        other, other_key = random.choice(holders)
        match random.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.append(holder[key])
            case 2:
                holder[key] = copy.deepcopy(other[other_key])
            case _:
                value = holder[key]
                numbers = (value + 1, -value, 2 * value, value * 1000) if type(value) in (int, float) else ()
                holder[key] = copy.deepcopy(random.choice((*_VALUES, *numbers)))
    return tree


def _holders(tree: Any) -> list[tuple[Any, Any]]:
    """Every place of a tree: the list or map, and the index or key in it."""
    pending, found = [tree], []
    while pending:
        node = pending.pop()
        keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        found += [(node, key) for key in keys]
        pending.extend(node[key] for key in keys)
    return found


def of_json(random: Random, corpus: Sequence[bytes]) -> bytes:
    """Another tree, or other bytes."""
    if random.random() < 0.2:
        return of_bytes(random, corpus)
    return json.dumps(changed_tree(random, json.loads(random.choice(corpus)))).encode()


def of_members(random: Random, corpus: Sequence[bytes]) -> bytes:
    """A zip archive with another member, whose checksum is right; or other bytes."""
    if random.random() < 0.2:
        return of_bytes(random, corpus)
    with zipfile.ZipFile(io.BytesIO(random.choice(corpus))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        kind = archive.infolist()[0].compress_type
    name = random.choice(list(members))
    change = of_json if name.endswith(".json") else of_bytes
    members[name] = change(random, [members[name]])
    if random.random() < 0.05:
        members[random.choice(("../a", "a.npy", "/a", "config.json", "a"))] = members.pop(name)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", kind) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return held.getvalue()
