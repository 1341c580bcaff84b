"""``python -m hack.images NAME``: build one image and print the path of its docker-archive."""

import argparse
import sys

from hack import images
from hack.cluster import errors


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="hack.images", description=__doc__)
    parser.add_argument("name", choices=sorted(images.catalogue()))
    name = parser.parse_args().name
    try:
        archive = images.build(name)
    except errors.ClusterError as e:
        print(f"images: {e}", file=sys.stderr)
        return 1
    print(f"{images.catalogue()[name].reference} {archive}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
