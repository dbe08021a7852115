"""Writes the tables of docs/benchmarks.md and docs/robustness.md from the CSVs that benchmarks and `make torture` wrote.

A table stands between the lines `<!-- NAME.csv -->` and `<!-- end -->`; what stands between them is replaced. What was
not run yet has no CSV, and the page says so.
"""

import csv
import re
from pathlib import Path

from roclip.core.atomic import atomic

PAGES = (Path("docs/benchmarks.md"), Path("docs/robustness.md"))
TABLE = re.compile(r"(<!-- (\w+\.csv) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def table(path: Path) -> str:
    """A CSV as a Markdown table, every cell as it is."""
    if not path.exists():
        return "Not run yet.\n"
    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    lines = [[name.replace("_", " ") for name in header], ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def filled(page: str) -> str:
    """The page with its tables as the CSVs are now."""
    return TABLE.sub(lambda match: f"{match[1]}{table(Path('benchmarks', match[2]))}{match[4]}", page)


def main() -> None:
    for page in PAGES:
        with atomic(page) as temporary:
            temporary.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
