"""Whether a folder holds the wheels that benchmarks/gpu_carry.txt lists, and no other versions of them.

python -m benchmarks.carried FOLDER
"""

import sys
from pathlib import Path

LIST = Path(__file__).with_name("gpu_carry.txt")


def versions(lines: list[str]) -> dict[str, str]:
    """Name -> version, of lines NAME==VERSION; comments are left out."""
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def faults(folder: Path, wanted: dict[str, str]) -> list[str]:
    """What is missing in FOLDER/whl, and what is there in another version or uncalled for."""
    found: dict[str, set[str]] = {}
    for wheel in (folder / "whl").glob("*.whl"):
        name, version, *_ = wheel.name.split("-")
        found.setdefault(name, set()).add(version)
    missing = [f"no {name} {version}" for name, version in wanted.items() if version not in found.get(name, ())]
    surplus = [f"{n} {v}" for n in sorted(found) for v in sorted(found[n]) if wanted.get(n) != v]
    return missing + [f"{wheel}, which is not listed" for wheel in surplus]


def main() -> None:
    folder = Path(sys.argv[1])
    if found := faults(folder, versions(LIST.read_text().splitlines())):
        sys.exit(
            f"error: {folder}/whl has {'; '.join(found)}; fetch anew what gpu_carry.txt lists: benchmarks/gpu_carry.sh FOLDER"
        )


if __name__ == "__main__":
    main()
