"""``python -m hack.release [--dry-run] [--draft]``: make a release in ``dist/``, or say why not. Publishes nothing."""

import argparse
import pathlib
import shutil
import sys
from collections.abc import Sequence

from hack.cluster import errors
from hack.deployment import rendering
from hack.release import judging, parts

DIST = judging.ROOT / "dist"


def main(arguments: Sequence[str] | None = None, *, dist: pathlib.Path = DIST) -> int:
    """Returns the exit code: 1 when something forbids the release or a part cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m hack.release", description="Make a release; publish nothing.")
    parser.add_argument("--dry-run", action="store_true", help="say what would be made and what forbids it")
    parser.add_argument("--draft", action="store_true", help="of the tree as it is: to try it, not to publish it")
    options = parser.parse_args(arguments)
    facts = judging.look()
    wanted = parts.parts(facts)
    if options.dry_run:
        print(_render_plan(facts, wanted))
    problems = judging.find_problems(facts, draft=options.draft)
    for problem in problems:
        print(f"release: {problem}", file=sys.stderr)
    if problems and not options.draft:
        print(
            "release: until then `make release DRAFT=1` makes everything of the tree as it is, to try it",
            file=sys.stderr,
        )
    if problems or options.dry_run:
        return 1 if problems else 0
    try:
        make(wanted, dist)
    except (parts.ReleaseError, rendering.RenderError, errors.ClusterError) as e:
        print(f"release: {e}", file=sys.stderr)
        return 1
    shown = dist.relative_to(judging.ROOT) if dist.is_relative_to(judging.ROOT) else dist
    print(f"{shown} has {facts.tag}{' (a draft)' if options.draft else ''}; docs/releasing.md says how to publish it")
    return 0


def _render_plan(facts: judging.Facts, wanted: Sequence[parts.Part]) -> str:
    lines = [f"{facts.tag} of {facts.commit[:12] or 'no commit'} would be, in {DIST.name}/:"]
    lines += [f"  {name:<48} {part.purpose}" for part in wanted for name in part.names]
    return "\n".join([*lines, f"  {parts.SUMS:<48} their hashes"])


def make(wanted: Sequence[parts.Part], dist: pathlib.Path) -> None:
    """Make all parts beside ``dist``, then put them in its place: there is never half a release.

    Raises ReleaseError for a part that did not come out as it was said.
    """
    fresh = dist.with_name(f"{dist.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        for part in wanted:
            part.make(fresh)
            missing = [name for name in part.names if not (fresh / name).is_file()]
            if missing:
                raise parts.ReleaseError(f"{missing[0]} was not made")
        extra = {path.name for path in fresh.iterdir()} - {name for part in wanted for name in part.names}
        if extra:
            raise parts.ReleaseError(f"{min(extra)} was made, and nobody had asked for it")
        (fresh / parts.SUMS).write_text(parts.render_sums(fresh))
        shutil.rmtree(dist, ignore_errors=True)
        fresh.replace(dist)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
