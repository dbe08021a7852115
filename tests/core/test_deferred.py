"""What is deferred is imported when it is used, and then as a whole."""

import subprocess
import sys

import pytest

PACKAGE = {
    "__init__.py": "from big import heavy\nfrom big.light import value\nname = 'whole'\n",
    "heavy.py": "print('heavy')\n",
    "light.py": "value = 3\n",
    "inner/__init__.py": "print('inner')\nother = 4\n",
    "inner/leaf.py": "value = 5\n",
}


def printed(folder, code: str) -> list[str]:
    """The lines that a program prints which finds a package `big` in a folder."""
    for name, content in PACKAGE.items():
        path = folder / "big" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from roclip.core.deferred import Deferred, defer_package\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_a_deferred_module_is_imported_at_its_first_use(tmp_path):
    assert printed(tmp_path, "big = Deferred('big'); print('first'); print(big.name)") == ["first", "heavy", "whole"]


@pytest.mark.parametrize(
    "use",
    [
        "import big; print(big.name)",
        "from big import name; print(name)",
        "import big.light, big; print(big.light.value, big.name)",
        "from big import heavy; print('whole')",
    ],
)
def test_a_deferred_package_is_whole_once_a_name_is_looked_up_in_it(tmp_path, use):
    assert printed(tmp_path, f"defer_package('big'); {use}")[-1] == "whole"
    assert "heavy" in printed(tmp_path, f"defer_package('big'); {use}")


def test_submodules_of_deferred_packages_come_alone(tmp_path):
    code = "defer_package('big'); defer_package('big.inner'); import big.light, big.inner.leaf; print(big.inner.leaf.value)"
    assert printed(tmp_path, code) == ["5"]
    assert printed(tmp_path, f"{code}; print(big.inner.other)") == ["5", "inner", "4"]


def test_a_name_that_a_package_has_not_is_an_error_as_ever(tmp_path):
    code = "defer_package('big'); import big\ntry: big.absent\nexcept AttributeError: print(big.name)"
    assert printed(tmp_path, code) == ["heavy", "whole"]


def test_a_package_that_is_there_already_stays(tmp_path):
    assert printed(tmp_path, "import big; defer_package('big'); print(big.name)") == ["heavy", "whole"]


@pytest.mark.parametrize(
    "use", ["big.absent", "big.heavy", "import big.light", "import big.inner.leaf", "from big import heavy"]
)
def test_names_that_are_known_load_nothing_and_are_the_package_s_own_once_it_is_loaded(tmp_path, use):
    shown = "print(big.name, big.value)"
    code = f"defer_package('big', name='known', value=7); import big; {shown}\ntry: {use}\nexcept AttributeError: pass\n{shown}"
    before, value, *loaded = printed(tmp_path, code)
    assert (before, value) == ("known", "7")
    assert (loaded[0], loaded[-2:]) == ("heavy", ["whole", "3"])
