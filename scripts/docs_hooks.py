"""What mkdocs adds to docs/ from elsewhere in the repository, each file as it is there: results, habits, changes.

Links in docs/ say where such a file is in the repository, so that they lead somewhere for who reads docs/ in place.
"""

import os
import re
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
OUTSIDE = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)")
"""A link that leaves the folder of its page."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, and every table and figure under results/ where its path says."""
    found = [
        path for pattern in ("*/figures/*.svg", "*/*.md") for path in REPOSITORY.glob(f"results/{pattern}")
    ]
    kept = {path.relative_to(REPOSITORY).as_posix() for path in found}
    for place, source in {**PAGES, **{name: name for name in sorted(kept)}}.items():
        files.append(File.generated(config, place, abs_src_path=str(REPOSITORY / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let links to such files lead to their places in the documentation."""
    place = {source: place for place, source in PAGES.items()}
    here = Path(page.file.src_uri).parent

    def led(link: re.Match[str]) -> str:
        source = os.path.relpath(Path("docs") / here / link[1])
        if source.startswith("docs"):
            return link[0]
        return f"]({os.path.relpath(place.get(source, source), here)}"

    return OUTSIDE.sub(led, markdown) if not page.file.src_uri.startswith("results/") else markdown
