"""Shell scripts that run in the agent's pod; they travel in the prompt Secret."""

from importlib import resources


def read(name: str) -> str:
    """The text of a script, by its file name."""
    return resources.files(__name__).joinpath(name).read_text()
