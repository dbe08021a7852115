"""The mutants: small faults in the code, each with the tests that must find it (`table.txt`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("table.txt")


@dataclass(frozen=True)
class Mutant:
    what: str  # the fault in words
    file: str  # from the project's root
    old: str  # stands in the file once
    new: str
    tests: tuple[str, ...]  # what pytest is given

    def applied(self, root: Path) -> str:
        """The text of the file with the fault. Raises ValueError unless `old` stands there once."""
        text = (root / self.file).read_text(encoding="utf-8")
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.file}: '{self.old}' stands there {count} times, not once: bring {TABLE.name} up to date")
        return text.replace(self.old, self.new)


def mutants(*words: str) -> Iterator[Mutant]:
    """Those whose file or fault holds one of the words, or all without any."""
    what = old = file = ""
    tests: tuple[str, ...] = ()
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "@":
            file, _, names = rest.partition(": ")
            tests = tuple(names.split())
        elif mark == "-":
            old = rest
        elif mark == "+":
            if not words or any(word in file or word in what for word in words):
                yield Mutant(what, file, old, rest, tests)
        elif line and mark != "#":
            what = line
