"""Tokens, the service-account key and kubeconfigs, made with the standard library only.

Every component has a token of its own, so that an audit log tells them apart and RBAC treats them as it does in
production. The API server's certificate is its own self-signed one.
"""

import base64
import csv
import dataclasses
import io
import pathlib
import secrets

from hack.cluster import files, paths, state

# The order of the P-256 curve: a private key is any number from 1 to one less than this.
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P256_OID = bytes.fromhex("06082a8648ce3d030107")
ADMIN = "agentrun-admin"
CONTROLLER_MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"
KWOK = "kwok-controller"


@dataclasses.dataclass(frozen=True)
class Identity:
    """A user of the cluster and the groups it is in."""

    user: str
    groups: tuple[str, ...] = ()


def node_identity(layout: paths.Layout) -> Identity:
    """Return the identity that the Node authorizer knows this cluster's kubelet by."""
    return Identity(user=f"system:node:{layout.node_name}", groups=("system:nodes",))


def identities(layout: paths.Layout) -> tuple[Identity, ...]:
    """Return everyone who gets a token."""
    return (
        Identity(user=ADMIN, groups=("system:masters",)),
        Identity(user=CONTROLLER_MANAGER),
        Identity(user=SCHEDULER),
        Identity(user=KWOK, groups=("system:masters",)),
        node_identity(layout),
    )


def ec_private_key_pem(secret: int) -> str:
    """Encode a P-256 private key (RFC 5915, without the optional public point, which Go computes itself)."""
    version = b"\x02\x01\x01"
    key = b"\x04\x20" + secret.to_bytes(32, "big")
    parameters = bytes([0xA0, len(_P256_OID)]) + _P256_OID
    body = version + key + parameters
    der = bytes([0x30, len(body)]) + body
    return f"-----BEGIN EC PRIVATE KEY-----\n{base64.encodebytes(der).decode()}-----END EC PRIVATE KEY-----\n"


def merge_tokens(existing: str, wanted: tuple[Identity, ...]) -> tuple[str, dict[str, str]]:
    """Return (tokens.csv, token by user): lines that are there stay, whoever wrote them; missing users are added."""
    rows = [row for row in csv.reader(io.StringIO(existing)) if row]
    tokens = {row[1]: row[0] for row in rows}
    for identity in wanted:
        if identity.user not in tokens:
            tokens[identity.user] = secrets.token_hex(24)
            rows.append([tokens[identity.user], identity.user, identity.user, ",".join(identity.groups)])
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerows(rows)
    return output.getvalue(), tokens


def render_kubeconfig(*, context: str, server: str, ca: pathlib.Path, user: str, token: str) -> str:
    """Render a kubeconfig with one context; the CA is named by path, since it exists only once the server has run."""
    return f"""apiVersion: v1
kind: Config
current-context: {context}
clusters:
- name: {context}
  cluster:
    server: {server}
    certificate-authority: {ca}
contexts:
- name: {context}
  context:
    cluster: {context}
    user: {user}
    namespace: default
users:
- name: {user}
  user:
    token: {token}
"""


def tokens_file(layout: paths.Layout) -> pathlib.Path:
    """Return the path of the API server's token file; lines added by hand are kept, and read at its next start."""
    return layout.config / "tokens.csv"


def key_file(layout: paths.Layout) -> pathlib.Path:
    """Return the path of the key that signs service-account tokens."""
    return layout.config / "service-account.key"


def kubeconfig_file(layout: paths.Layout, user: str) -> pathlib.Path:
    """Return the path of a component's kubeconfig."""
    if user == ADMIN:
        return layout.kubeconfig
    return layout.config / f"{user.replace(':', '-')}.kubeconfig"


def ensure(layout: paths.Layout, record: state.Record) -> dict[str, str]:
    """Write whatever is missing and return the token of each user."""
    tokens_path = tokens_file(layout)
    before = tokens_path.read_text(encoding="utf-8") if tokens_path.exists() else ""
    text, tokens = merge_tokens(before, identities(layout))
    files.write(tokens_path, text, private=True)
    if not key_file(layout).exists():
        secret = secrets.randbelow(_P256_ORDER - 1) + 1
        files.write(key_file(layout), ec_private_key_pem(secret), private=True)
    server = f"https://127.0.0.1:{record.ports['kube-apiserver']}"
    for identity in identities(layout):
        kubeconfig = render_kubeconfig(
            context=f"agentrun-{layout.name}",
            server=server,
            ca=layout.ca,
            user=identity.user,
            token=tokens[identity.user],
        )
        files.write(kubeconfig_file(layout, identity.user), kubeconfig, private=True)
    return tokens
