"""What mkdocs adds to docs/ from elsewhere in the repository, each file as it is there: results, habits, changes."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = {
    "results/FINDINGS.md": "results/FINDINGS.md",
    "results/CONTRIBUTING.md": "CONTRIBUTING.md",
    "results/CHANGELOG.md": "CHANGELOG.md",
    "results/benchmarks.md": "benchmarks/README.md",
    "results/growth.png": "benchmarks/growth.png",
}
"""Place in the documentation -> file of the repository."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, and every figure under results/ where its path says."""
    figures = {path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("results/*/figures/*.svg")}
    for place, source in {**PAGES, **{name: name for name in figures}}.items():
        files.append(File.generated(config, place, abs_src_path=str(REPOSITORY / source)))
    return files
