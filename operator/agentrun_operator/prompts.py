"""The prompt of a run: assembled from its parts, measured, refused when Kubernetes could not carry it.

A prompt always travels in a Secret, never in an argument or an environment variable: the kernel limits one of those to
128 KiB, and both can be read by whoever may read Jobs.
"""

from agentrun_operator import errors, models

# The API server refuses a Secret whose values together exceed this (core/v1 MaxSecretSize).
SECRET_LIMIT_BYTES = 1_048_576

# `claude --print` takes a prompt that begins with a slash for one of its own commands (or for a file of that name in
# the workspace) and answers it itself, with success and without asking the model. A line end before it is enough to
# make it text, on a resumed session too; `--disable-slash-commands` is not (measured with 2.1.329, docs/adr/0002).
_COMMAND = b"/"
_NOT_A_COMMAND = b"\n"


def assemble(spec: models.AgentRunSpec, *, reserved_bytes: int) -> bytes:
    """The prompt in UTF-8, exactly as the CLI will read it: byte for byte, but for a line end before a leading slash.

    ``reserved_bytes`` is what else the Secret has to carry. Raises InvalidRunError when the prompt is blank or too
    large.
    """
    prompt = spec.prompt.text.encode()
    if not spec.prompt.text.strip():
        raise errors.InvalidRunError(
            errors.ErrorCode.PROMPT_INVALID, "spec.prompt.text is blank; write what the agent is to do."
        )
    prefix = _NOT_A_COMMAND if prompt.startswith(_COMMAND) else b""
    limit = SECRET_LIMIT_BYTES - reserved_bytes - len(prefix)
    if len(prompt) > limit:
        raise errors.InvalidRunError(
            errors.ErrorCode.PROMPT_INVALID,
            f"spec.prompt.text is {len(prompt):,} bytes in UTF-8; a Secret carries at most {limit:,}. Put long "
            "material into a file on the shared volume and name the file in the prompt.",
        )
    return prefix + prompt
