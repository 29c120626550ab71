"""Every command in README.md and docs works when it is pasted into bash or zsh, and composes by the schema."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from worldmodel.cli.compose import composed
from worldmodel.cli.errors import validated
from worldmodel.cli.schema import Catalogue, configs_folder
from worldmodel.runs.parts import command_config

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
PROGRAM = re.compile(r"([A-Z_]+=\S* )*(\S*python|make|pip|dwave|optuna-dashboard|\S*tensorboard)( |$)")
WORD = re.compile(r"""["']?(~?[a-z_]+(\.\w+)*=.|~\w)""")
SPECIAL = set("[]{}~?*#^!$|&;<>()`")  # that zsh or bash give a meaning
PLACE = re.compile(r"[^=]+=[A-Z]+|@.*")  # a word whose value the reader puts in


def lines(text: str) -> Iterator[str]:
    """The commands and the words of commands on a page: in blocks, indented, and between backticks."""
    for block in BLOCK.finditer(text):
        if block[2] in ("", "bash", "sh", "console"):
            whole = block[3].replace("\\\n", " ")
            yield from (line for line in map(str.strip, whole.splitlines()) if PROGRAM.match(line) or WORD.match(line))
    rest = BLOCK.sub("", text)
    yield from (line.strip() for line in rest.splitlines() if line.startswith("    ") and PROGRAM.match(line.strip()))
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", rest):
        line = " ".join(span.split())
        if PROGRAM.match(line) or (WORD.match(line) and not re.search(r", |=\w+\(|=\"\w+\"", line)):
            yield line


def documented() -> dict[str, Path]:
    """Each command once, whatever its seed."""
    return {
        re.sub(r" seed=\d+$", "", line): page.relative_to(ROOT)
        for page in reversed(PAGES)
        for line in lines(page.read_text(encoding="utf-8"))
    }


COMMANDS = documented()


def unquoted(line: str) -> str:
    """What a shell looks at: the line without what stands in quotes."""
    return re.sub(r"'[^']*'|\"[^\"$`\\!]*\"", "", line)


def test_no_shell_changes_a_documented_word(tmp_path: Path) -> None:
    """zsh: no unquoted character that it may expand, nor any comment. bash: what it makes of the words."""
    assert len(COMMANDS) > 100
    assert {line: page for line, page in COMMANDS.items() if SPECIAL & set(unquoted(line))} == {}
    script = "shopt -s failglob nullglob\n" + "".join(f"printf '%s\\0' {line}; echo\n" for line in COMMANDS)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, cwd=tmp_path)
    printed = subprocess.run(["bash"], input=script, text=True, check=True, cwd=tmp_path, capture_output=True).stdout
    seen = [line.split("\0")[:-1] for line in printed.splitlines()]
    assert seen == [shlex.split(line) for line in COMMANDS]


@cache
def catalogue(name: str) -> Catalogue:
    return Catalogue(configs_folder(), name)


def of_ours() -> dict[str, list[str]]:
    """The command and the words behind `python -m worldmodel.NAME`."""
    found = {}
    for line in COMMANDS:
        words = shlex.split(line)
        module = next((word for word in words if word.startswith("worldmodel.")), None)
        if module:
            name, given = module.partition(".")[2], words[words.index(module) + 1 :]
            within = given[:1] if given and (ROOT / "worldmodel" / name / given[0]).is_dir() else []  # as probe circuit
            found[line] = ["/".join([name, *within]), *given[len(within) :]]
    return found


def test_the_documented_commands_are_accepted() -> None:
    """Composed and validated by the config dataclass of each command, but not run."""
    checked = 0
    for name, *words in of_ours().values():
        given = [word for word in words if not PLACE.fullmatch(word)]
        schema = command_config(name)
        composition = composed(catalogue(name), configs_folder(), name, given)
        if name in ("evaluate", "explain", "probe/termination") and "logdir" not in composition.texts:
            continue
        validated(schema, composition.values(), composition.texts)
        checked += 1
    assert checked > 50


@pytest.mark.parametrize("word", ["a=[b,c]", "a={b:1}", "~a", "a=b?c", "a=b*", "make x # says"])
def test_what_the_check_finds(word: str) -> None:
    assert SPECIAL & set(unquoted(word)) and not SPECIAL & set(unquoted(f"'{word}'"))


def test_help_quotes_its_examples() -> None:
    files = list(configs_folder().rglob("*.yaml"))
    comments = {line.partition("# ")[2]: file.name for file in files for line in file.read_text().splitlines()}
    assert {text: name for text, name in comments.items() if re.search(r"\w=[\[{]", unquoted(text))} == {}
