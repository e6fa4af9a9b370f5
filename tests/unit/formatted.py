"""Policies written out at random, as people write them: any indentation and style, with comments all over."""

from __future__ import annotations

from random import Random
from typing import Final

from gateway.wire.json import Json

_PLAIN_KEYS: Final = ("retries", "timeout", "params", "description", "stream", "deadline", "fallback_on")


class Author:
    """Writes one policy. A comment behind a value names it, a comment above a key names that."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._count = 0
        self._lines: list[str] = []
        self.behind: list[str] = []
        """Words that stand on one line with a comment, which is `# behind WORD`."""
        self.above: list[str] = []
        """Words on a line that follows a comment `# above WORD`."""

    def write(self) -> str:
        """Return the text of a policy."""
        value: dict[str, Json] = {"version": 1}
        if self._chance(0.5):
            value["defaults"] = self._limits(self._name("d"))
        if self._chance(0.5):
            value["hooks"] = {"post": [self._hook() for _ in range(self._random.randint(1, 2))]}
        value["models"] = {self._name("alias"): self._alias() for _ in range(self._random.randint(1, 4))}
        if self._chance(0.3):
            value["x-notes"] = [[1, "two words", [self._name("n")]], {"chain": ["a/b"]}]
        self._mapping(value, 0, self._random.choice((1, 2, 2, 3, 4)))
        return "\n".join(self._lines) + self._random.choice(("", "\n", "\n\n\n"))

    def _chance(self, chance: float) -> bool:
        return self._random.random() < chance

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}z"

    def _alias(self) -> Json:
        chain: Json = [self._step() for _ in range(self._random.choice((1, 1, 2, 3)))]
        match self._random.randrange(4):
            case 0:
                return self._name("p/m")
            case 1:
                return chain
            case 2:
                return {"chain": chain}
            case _:
                return self._shuffled({"chain": chain, **self._limits(self._name("d"))})

    def _step(self) -> Json:
        target = self._name("p/m")
        match self._random.randrange(5):
            case 0:
                return target
            case 1:
                return {"target": target}
            case 2:
                members: Json = [target, {"target": self._name("p/m")}, {"weight": 2, "target": self._name("p/m")}]
                pool = self._random.choice((members, {target: 9, self._name("p/m"): 1}))
                return self._shuffled({"pool": pool, "pick": "sticky", "retries": self._random.randint(0, 9)})
            case 3:
                when = self._shuffled({"tools": True, "not": {"header": {self._name("x"): "a"}}, "tokens": "> 5k"})
                return self._shuffled({"target": target, "when": when})
            case _:
                return self._shuffled({"target": target, "retries": self._random.randint(0, 9)})

    def _hook(self) -> Json:
        path = self._name("hooks.h")
        return self._random.choice((path, {"path": path}, {"timeout": "5s", "path": path}))

    def _limits(self, name: str) -> dict[str, Json]:
        values: dict[str, Json] = {
            "retries": 1,
            "timeout": {"total": "9s", "idle": "${IDLE}"},
            "params": {"target": name, "stop": ["yes", "no, really", 1.5, None, True], "user": "two\nlines\n"},
            "description": f'about {name}: # it\'s "fine"',
            "stream": {"hold": "full"},
            "deadline": 60,
            "fallback_on": ["timeout"],
        }
        return self._shuffled({key: values[key] for key in _PLAIN_KEYS if self._chance(0.4)})

    def _shuffled(self, mapping: dict[str, Json]) -> dict[str, Json]:
        items = list(mapping.items())
        self._random.shuffle(items)
        return dict(items)

    def _mapping(self, value: dict[str, Json], column: int, step: int, first: str | None = None) -> None:
        for key, item in value.items():
            blanks = " " * column if first is None else first
            if first is None:
                self._interlude(column, key)
            first = None
            self._entry(blanks + self._key(key) + ":", item, column, step, word=key)

    def _list(self, value: list[Json], column: int, step: int) -> None:
        for item in value:
            dash = " " * column + "-" + " " * self._random.choice((1, 1, 3))
            if isinstance(item, dict) and item and self._chance(0.5):
                self._mapping(item, len(dash), step, first=dash)
            else:
                self._entry(dash.rstrip(" "), item, column, step, word="")

    def _entry(self, head: str, value: Json, column: int, step: int, *, word: str) -> None:
        flat = not isinstance(value, (dict, list)) or not value or self._chance(0.3)
        if isinstance(value, str) and value.endswith("\n") and word:
            self._lines.append(f"{head} |")
            self._lines += [" " * (column + step) + line for line in value.splitlines()]
        elif flat:
            self._line(f"{head} {' ' * self._random.choice((0, 0, 2))}{self._flow(value)}", word)
        else:
            self._line(head, word)
            if isinstance(value, list):
                self._list(value, column + (0 if word and self._chance(0.3) else step), step)
            else:
                self._mapping(value, column + step, step)

    def _line(self, text: str, word: str) -> None:
        if word.endswith("z") and self._chance(0.3):
            self.behind.append(word)
            text = f"{text.ljust(self._random.choice((0, 30, 40)))} # behind {word}"
        self._lines.append(text + " " * self._random.choice((0, 0, 1)))

    def _interlude(self, column: int, key: str) -> None:
        self._lines += [""] * self._random.choice((0, 0, 0, 1, 3))
        if key.endswith("z") and self._chance(0.3):
            self.above.append(key)
            self._lines.append(" " * column + f"# above {key}")
        elif self._chance(0.05):
            self._lines.append(" " * self._random.randint(0, 9) + "# anywhere")

    def _key(self, key: str) -> str:
        return self._random.choice((key, key, f'"{key}"', f"'{key}'"))

    def _flow(self, value: Json) -> str:
        pad = self._random.choice(("", "", " "))
        if isinstance(value, dict):
            pairs = [f"{self._key(key)}: {self._flow(item)}" for key, item in value.items()]
            return f"{{{pad}{f',{pad} '.join(pairs)}{pad}}}"
        if isinstance(value, list):
            return f"[{pad}{f'{pad},{pad}'.join(map(self._flow, value))}{pad}]"
        if isinstance(value, str):
            plain = value.replace("/", "").replace(".", "").replace(" ", "").isalnum() and value not in ("yes", "no")
            quoted = '"' + value.replace('"', '\\"').replace("\n", "\\n") + '"'
            return self._random.choice((value, value, quoted)) if plain else quoted
        return {"None": "null", "True": "true"}.get(str(value), str(value))
