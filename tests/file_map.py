"""The README's file map, from the modules' first lines. Write it: ``python tests/file_map.py``."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- file map -->\n", "<!-- end of file map -->\n"
FOLDERS = (
    "perigee",
    "perigee/cli",
    "perigee/corpus",
    "perigee/tokenizer",
    "perigee/model",
    "perigee/diffusion",
    "perigee/training",
    "perigee/generation",
    "assets",
    "pipelines",
    "benchmarks",
)


def phrase(file: Path) -> str:
    """The first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].removesuffix(".").replace("``", "")


def file_map() -> str:
    """Every folder and module with one phrase."""
    lines = ["```"]
    for folder in FOLDERS:
        files = sorted((ROOT / folder).glob("*.py"))
        width = max(len(file.name) for file in files)
        package = ROOT / folder / "__init__.py"
        lines.append(f"{folder}/  {phrase(package)}" if package.exists() else f"{folder}/")
        lines += [f"    {f.name:<{width}}  {phrase(f)}" for f in files if f != package]
    lines.append("tests/      the same folders again, and the architecture, settings and files")
    lines.append("configs/    perigee_train.toml, perigee_smoke.toml, perigee_sample.toml")
    lines.append("deploy/     a shared instance: PostgreSQL, systemd units")
    lines.append("docs/       pictures; what the README cannot hold")
    lines.append("LOG.md      dated findings with their figures, the negative ones too")
    lines.append("```")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Put the map into the README."""
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(before + BEGIN + file_map() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
