"""One target under atheris: ``python -m tests.fuzz.atheris_target TARGET [libFuzzer options]``. Ends its process."""

import sys

import atheris

# The fuzzer is led by what of the product an input reaches; it has to see the modules before anybody else.
with atheris.instrument_imports(include=["agentrun_operator"]):
    from tests.fuzz import targets


def main() -> None:
    """Does not return."""
    check = targets.TARGETS[sys.argv.pop(1)].check
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
