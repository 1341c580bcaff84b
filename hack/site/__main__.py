"""``python -m hack.site``: build the site into build/site/html, and fail on anything that is wrong with it.

It runs in the environment of ``make docs``, which has Sphinx; nothing else of the repository needs that.
"""

import pathlib
import shutil
import subprocess
import sys

from hack import site
from hack.images import operator

_FOLDER = site.ROOT / "build" / "site"


def main() -> int:
    """Returns the exit code."""
    source, built = _FOLDER / "source", _FOLDER / "html"
    site.stage(source)
    shutil.rmtree(built, ignore_errors=True)
    # -W: a link that leads nowhere, a page without a place in the menu, a title that is none, all are failures.
    options = ["--builder", "html", "--conf-dir", str(pathlib.Path(__file__).parent), "--fail-on-warning"]
    options += ["--fresh-env", "--quiet", f"--define=release={operator.version()}"]
    done = subprocess.run([sys.executable, "-m", "sphinx", *options, str(source), str(built)], check=False)
    if done.returncode:
        return done.returncode
    foreign = site.find_foreign(built)
    for sentence in foreign:
        print(sentence, file=sys.stderr)
    print(f"{len(site.pages()) + 1} pages, each link leads somewhere: {built.relative_to(site.ROOT) / 'index.html'}")
    return 1 if foreign else 0


if __name__ == "__main__":
    sys.exit(main())
