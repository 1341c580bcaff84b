"""What the kubelet makes of a word in ``command``, ``args`` or ``env``: ``$(NAME)`` is replaced, ``$$`` becomes ``$``.

After k8s.io/kubernetes/third_party/forked/golang/expansion, so that tests judge the words that a process really gets.
"""

from collections.abc import Mapping


def expand(text: str, variables: Mapping[str, str] | None = None) -> str:
    """``text`` as the process gets it."""
    known = variables or {}
    out, rest = [], text
    while "$" in rest:
        before, _, rest = rest.partition("$")
        out.append(before)
        if rest.startswith("$"):
            out.append("$")
            rest = rest[1:]
        elif rest.startswith("(") and ")" in rest:
            name, _, rest = rest[1:].partition(")")
            out.append(known.get(name, f"$({name})"))
        else:
            out.append("$")
    return "".join([*out, rest])
