"""What agents' pods take over from the operator's own pod: by allow-list only, and none of its identity."""

from collections.abc import Mapping
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import settings
from agentrun_operator.manifest import inheritance

EVERYTHING = {
    "inherit": ",".join(settings.INHERITABLE_PARTS),
    "inherit_env": "*",
    "inherit_env_from": "*",
    "inherit_secret_volumes": "*",
}
NOTHING = dict.fromkeys(EVERYTHING, "")


def config(**values: object) -> settings.Settings:
    """Settings that let nothing through except what is given."""
    return settings.from_mapping({**NOTHING, **values})


def pod(*, container: Mapping[str, Any] | None = None, **spec: object) -> dict[str, Any]:
    """A pod whose one container is the operator's."""
    return {"spec": {"containers": [{"name": "operator", **(container or {})}], **spec}}


def parse(own: Mapping[str, Any], **values: object) -> inheritance.Inherited:
    """What is inherited from the pod with these settings."""
    return inheritance.parse_own_pod(own, config(**values))


SECRET_REF = {"secretKeyRef": {"name": "anthropic", "key": "key"}}
CONFIG_REF = {"configMapKeyRef": {"name": "proxy", "key": "url", "optional": True}}
FULL = pod(
    container={
        "image": "operator:1",
        "env": [
            {"name": "HTTP_PROXY", "value": "http://proxy:3128"},
            {"name": "ANTHROPIC_API_KEY", "valueFrom": SECRET_REF},
            {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "database", "key": "url"}}},
        ],
        "envFrom": [{"prefix": "X_", "secretRef": {"name": "anthropic"}}, {"configMapRef": {"name": "proxy"}}],
        "volumeMounts": [
            {"name": "data", "mountPath": "/paperclip"},
            {"name": "aws", "mountPath": "/etc/aws"},
            {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
        ],
    },
    volumes=[
        {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}},
        {"name": "aws", "secret": {"secretName": "aws-credentials", "defaultMode": 288}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    ],
    imagePullSecrets=[{"name": "registry"}],
    dnsConfig={"options": [{"name": "ndots", "value": "2"}]},
)


def test_by_default_an_agent_inherits_what_it_needs_to_reach_its_model() -> None:
    """What makes a pod run at all and the provider's variables, but no other secret: not the database's address."""
    assert inheritance.parse_own_pod(FULL, settings.Settings()) == inheritance.Inherited(
        claim="shared",
        env=(
            {"name": "HTTP_PROXY", "value": "http://proxy:3128"},
            {"name": "ANTHROPIC_API_KEY", "valueFrom": SECRET_REF},
        ),
        image_pull_secrets=({"name": "registry"},),
        dns_config={"options": [{"name": "ndots", "value": "2"}]},
    )


def test_nothing_is_inherited_that_no_setting_names() -> None:
    """Each of the switches is an allow-list, and an empty one lets nothing through."""
    assert parse(FULL) == inheritance.NOTHING == inheritance.Inherited()


def test_everything_that_can_be_inherited() -> None:
    """Still without the service account token."""
    spec = FULL["spec"]
    assert parse(FULL, **EVERYTHING) == inheritance.Inherited(
        image="operator:1",
        claim="shared",
        env=tuple(spec["containers"][0]["env"]),
        env_from=tuple(spec["containers"][0]["envFrom"]),
        volumes=(
            {
                "name": "inherited-aws",
                "secret": {"secretName": "aws-credentials", "defaultMode": 288, "optional": True},
            },
        ),
        mounts=({"name": "inherited-aws", "mountPath": "/etc/aws", "readOnly": True},),
        image_pull_secrets=({"name": "registry"},),
        dns_config={"options": [{"name": "ndots", "value": "2"}]},
    )


def test_in_another_namespace_only_what_needs_no_object_there_is_inherited() -> None:
    """Secrets, ConfigMaps and claims are reached by name, and there the name is another object's or none's."""
    assert parse(FULL, **EVERYTHING).elsewhere() == inheritance.Inherited(
        image="operator:1",
        env=({"name": "HTTP_PROXY", "value": "http://proxy:3128"},),
        dns_config={"options": [{"name": "ndots", "value": "2"}]},
    )
    assert inheritance.NOTHING.elsewhere() == inheritance.NOTHING


@pytest.mark.parametrize(
    ("containers", "name", "image"),
    [
        ([{"name": "proxy", "image": "p"}, {"name": "operator", "image": "o"}], "operator", "o"),
        ([{"name": "proxy", "image": "p"}, {"name": "operator", "image": "o"}], "paperclip", "p"),
        ([{"image": "p"}, {"name": "", "image": "o"}], "", "p"),
        ([None, "x", {"image": "p"}], "operator", "p"),
        ([], "operator", ""),
        ({"name": "operator", "image": "o"}, "operator", ""),
        ([{"name": "operator", "image": 7}], "operator", ""),
    ],
)
def test_the_container_is_the_named_one_else_the_first(containers: object, name: str, image: str) -> None:
    """The operator may run beside other containers, or in one with another name."""
    own = {"spec": {"containers": containers}}
    assert parse(own, inherit="image", pod_container=name).image == image


DATA = {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}
OTHER = {"name": "other", "persistentVolumeClaim": {"claimName": "second"}}


@pytest.mark.parametrize(
    ("data_path", "mounts", "volumes", "claim"),
    [
        ("/data", {"/data": "data"}, [DATA], "shared"),
        ("/data", {"/data/": "data"}, [DATA], "shared"),
        ("/data/", {"/data": "data"}, [OTHER, DATA], "shared"),
        ("/data", {"/paperclip": "other", "/data": "data"}, [DATA, OTHER], "shared"),
        ("/data", {"/paperclip": "other"}, [DATA, OTHER], "second"),
        ("", {"/paperclip": "other", "/": "data"}, [DATA, OTHER], "second"),
        ("/data", {"/data/sub": "data"}, [DATA], ""),
        ("/data", {"/": "data"}, [DATA], ""),
        ("/data", {}, [DATA], ""),
        ("/data", {"/data": "data"}, [OTHER], ""),
        ("/data", {"/data": None}, [{"persistentVolumeClaim": {"claimName": "nameless"}}], ""),
        ("/data", {"/data": "data"}, [{"name": "data", "hostPath": {"path": "/x", "claimName": "x"}}], ""),
        ("/data", {"/data": "data"}, [{"name": "data", "emptyDir": {}, "claimName": "x"}], ""),
        ("/data", {"/data": "data", "/paperclip": "other"}, [{"name": "data", "emptyDir": {}}, OTHER], ""),
        ("/data", {"/data": "data"}, [{"name": "data", "persistentVolumeClaim": "shared"}], ""),
        ("/data", {"/data": "data"}, [{"name": "data", "persistentVolumeClaim": {"claimName": 1}}], ""),
    ],
)
def test_the_claim_is_the_one_that_the_operator_sees_as_the_shared_volume(
    data_path: str, mounts: dict[str, str | None], volumes: list[Any], claim: str
) -> None:
    """At its own path, or else at the agents' path; a volume of another kind has no claim to share."""
    own = pod(container={"volumeMounts": [{"mountPath": p, "name": n} for p, n in mounts.items()]}, volumes=volumes)
    assert parse(own, inherit="claim", data_path=data_path).claim == claim
    assert parse(own, inherit="image", data_path=data_path).claim == ""


@pytest.mark.parametrize(
    ("allowed", "passing"),
    [
        ("", ""),
        ("A", "A"),
        ("a", "a"),
        ("A,a", "A a"),
        ("A*", "A AB ABC A?C A[B]"),
        ("*B", "AB"),
        ("A*C", "ABC A?C"),
        ("*", "A AB ABC a A?C A[B]"),
        ("**", "A AB ABC a A?C A[B]"),
        ("A?C", "A?C"),
        ("A[B]", "A[B]"),
        ("A[B]*,X", "A[B]"),
        ("X,A", "A"),
    ],
)
def test_only_a_star_is_special_in_an_allow_list(allowed: str, passing: str) -> None:
    """Case counts, and the whole name must match."""
    names = ["A", "AB", "ABC", "a", "A?C", "A[B]"]
    own = pod(container={"env": [{"name": name, "value": ""} for name in names]})
    assert [entry["name"] for entry in parse(own, inherit_env=allowed).env] == passing.split()


@pytest.mark.parametrize(
    "name",
    [
        *("AGENTRUN_IMAGE", "AGENTRUN_", "KUBERNETES_SERVICE_HOST", "POD_NAME", "POD_IP"),
        *("HOSTNAME", "HOME", "PATH", "PWD"),
    ],
)
def test_what_speaks_of_the_operator_is_never_inherited(name: str) -> None:
    """Not even if the allow-list names it; a name that only begins alike is another one."""
    entries = [{"name": name, "value": "x"}, {"name": f"X_{name}", "value": "x"}, {"name": "HOMEPAGE", "value": "x"}]
    own = pod(container={"env": entries})
    assert [e["name"] for e in parse(own, inherit_env=f"*,{name}").env] == [f"X_{name}", "HOMEPAGE"]


@pytest.mark.parametrize(
    ("entry", "passes"),
    [
        ({"value": "x"}, True),
        ({"value": ""}, True),
        ({}, True),
        ({"value": "http://$(HOST):1/$(OTHER)"}, True),
        ({"value": "x", "valueFrom": None}, True),
        ({"valueFrom": SECRET_REF}, True),
        ({"valueFrom": CONFIG_REF}, True),
        ({"valueFrom": {**CONFIG_REF, "fieldRef": None}}, True),
        ({"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}, False),
        ({"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}, False),
        ({"valueFrom": {"fileKeyRef": {"volumeName": "x", "path": "y", "key": "z"}}}, False),
        ({"valueFrom": {**CONFIG_REF, "fieldRef": {"fieldPath": "status.podIP"}}}, False),
        ({"valueFrom": {}}, False),
        ({"valueFrom": "x"}, False),
        ({"value": 1}, False),
        ({"value": None}, False),
    ],
)
def test_a_variable_is_inherited_as_it_is_written_or_not_at_all(entry: dict[str, Any], *, passes: bool) -> None:
    """References to Secrets and ConfigMaps hold in every pod; those to a pod's own fields and volumes do not."""
    written = {"name": "A", **entry}
    assert parse(pod(container={"env": [written]}), inherit_env="A").env == ((written,) if passes else ())


def test_variables_keep_their_order() -> None:
    """A $(NAME) reaches only variables before it."""
    entries = [{"name": name, "value": ""} for name in ("B", "A", "C", "A")]
    assert parse(pod(container={"env": entries}), inherit_env="A,B,C").env == tuple(entries)


@pytest.mark.parametrize("env", [None, {}, "A", [None, 1, "A", [], {}, {"name": None}, {"name": 1}, {"name": ""}]])
def test_a_variable_without_a_name_is_none(env: object) -> None:
    """Total parsing: less, never an exception."""
    assert parse(pod(container={"env": env, "envFrom": env}), inherit_env="*", inherit_env_from="*").env == ()


@pytest.mark.parametrize(
    ("entry", "passes"),
    [
        ({"secretRef": {"name": "llm"}}, True),
        ({"configMapRef": {"name": "llm"}}, True),
        ({"prefix": "P_", "secretRef": {"name": "llm-eu", "optional": True}}, True),
        ({"secretRef": {"name": "llm"}, "configMapRef": None}, True),
        ({"secretRef": {"name": "database"}}, False),
        ({"configMapRef": {"name": "database"}}, False),
        ({"secretRef": {"name": "llm"}, "configMapRef": {"name": "database"}}, False),
        ({"secretRef": {"name": 1}}, False),
        ({"secretRef": {}}, False),
        ({"secretRef": "llm"}, False),
        ({"prefix": "P_"}, False),
    ],
)
def test_whole_secrets_pass_by_their_names(entry: dict[str, Any], *, passes: bool) -> None:
    """With prefix and everything else as it is written."""
    own = pod(container={"envFrom": [entry, "x"]})
    assert parse(own, inherit_env_from="llm,llm-*").env_from == ((entry,) if passes else ())


def secret_pod(*mounts: Mapping[str, Any], **volume: object) -> dict[str, Any]:
    """A pod that mounts one secret volume named ``keys``."""
    return pod(
        container={"volumeMounts": [{"name": "keys", **mount} for mount in mounts]},
        volumes=[{"name": "keys", "secret": {"secretName": "s"}, **volume}],
    )


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ({"secretName": "s"}, {"secretName": "s", "optional": True}),
        ({"secretName": "s", "optional": False}, {"secretName": "s", "optional": True}),
        (
            {"secretName": "s", "items": [{"key": "a", "path": "b"}], "defaultMode": 256},
            {"secretName": "s", "items": [{"key": "a", "path": "b"}], "defaultMode": 256, "optional": True},
        ),
        ({"secretName": "s", "items": "x", "defaultMode": "0400"}, {"secretName": "s", "optional": True}),
        ({"secretName": 1}, None),
        ({}, None),
        ("s", None),
    ],
)
def test_a_secret_volume_is_optional(secret: object, expected: object) -> None:
    """A Secret that was deleted since the operator started keeps no agent from starting."""
    inherited = parse(secret_pod({"mountPath": "/etc/keys"}, secret=secret), inherit_secret_volumes="keys")
    assert [volume["secret"] for volume in inherited.volumes] == ([expected] if expected else [])
    assert len(inherited.mounts) == len(inherited.volumes)


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ({"mountPath": "/etc/keys"}, {"mountPath": "/etc/keys"}),
        ({"mountPath": "/etc/keys", "readOnly": False}, {"mountPath": "/etc/keys"}),
        ({"mountPath": "/etc/k.pem", "subPath": "k.pem"}, {"mountPath": "/etc/k.pem", "subPath": "k.pem"}),
        ({"mountPath": "/etc/k.pem", "subPath": ""}, {"mountPath": "/etc/k.pem"}),
        ({"mountPath": "/etc/k.pem", "subPathExpr": "$(POD_NAME)"}, None),
        ({"mountPath": "/etc/k.pem", "subPath": 1}, None),
        ({"mountPath": ""}, None),
        ({"mountPath": 1}, None),
        ({}, None),
    ],
)
def test_a_secret_is_mounted_read_only_where_the_operator_has_it(mount: dict[str, Any], expected: object) -> None:
    """A path made of the operator's own variables means nothing in the agent's pod."""
    inherited = parse(secret_pod(mount), inherit_secret_volumes="keys")
    wanted = ({"name": "inherited-keys", "readOnly": True, **expected},) if isinstance(expected, dict) else ()
    assert inherited.mounts == wanted
    assert len(inherited.volumes) == len(wanted)


@pytest.mark.parametrize(
    ("path", "free"),
    [
        ("/etc/keys", True),
        ("/paperclip-keys", True),
        ("/tmpfs", True),
        ("/run/keys", True),
        ("/run/agentrun-keys", True),
        ("/run/secrets/cloud", True),
        ("/var/run/secrets/cloud", True),
        ("/var/lib", True),
        ("/", False),
        ("//", False),
        ("/paperclip", False),
        ("/paperclip/", False),
        ("//paperclip//.ssh", False),
        ("paperclip/.ssh", False),
        ("/etc/../paperclip/keys", False),
        ("/tmp", False),
        ("/tmp/keys", False),
        ("/run", False),
        ("/run/agentrun", False),
        ("/run/agentrun/keys", False),
        ("/run/agentrun-bundle", False),
        ("/run/agentrun-skills/x", False),
        ("/run/secrets", False),
        ("/run/secrets/kubernetes.io/serviceaccount", False),
        ("/var", False),
        ("/var/run", False),
        ("/var/run/agentrun", False),
        ("/var/run/secrets", False),
        ("/var/run/secrets/kubernetes.io/serviceaccount", False),
    ],
)
def test_no_secret_is_mounted_where_the_agents_pod_has_something_of_its_own(path: str, *, free: bool) -> None:
    """Neither over it nor within it; without a mount there is no volume."""
    inherited = parse(secret_pod({"mountPath": path}), inherit_secret_volumes="*")
    assert [mount["mountPath"] for mount in inherited.mounts] == ([path] if free else [])
    assert len(inherited.volumes) == len(inherited.mounts)


def test_the_shared_volume_is_kept_free_wherever_it_is() -> None:
    """Also below /var/run, which is /run in most images."""
    own = secret_pod({"mountPath": "/run/shared/keys"}, {"mountPath": "/paperclip"})
    moved = {"data_mount": "/var/run/shared", "instance_root": "/var/run/shared"}
    assert [m["mountPath"] for m in parse(own, inherit_secret_volumes="*", **moved).mounts] == ["/paperclip"]


def test_a_volume_is_taken_by_its_own_name_with_all_its_mounts() -> None:
    """The name of the Secret does not count, nor does a volume that the operator's container does not mount."""
    mounts = [
        {"name": "keys", "mountPath": "/etc/a", "subPath": "a"},
        {"name": "other", "mountPath": "/etc/other"},
        {"name": "keys", "mountPath": "/etc/b", "subPath": "b"},
        {"name": "keys", "mountPath": "/tmp/c"},
        {"name": "files", "mountPath": "/etc/files"},
    ]
    volumes = [
        {"name": "keys", "secret": {"secretName": "s"}},
        {"name": "other", "secret": {"secretName": "keys"}},
        {"name": "keys-unmounted", "secret": {"secretName": "s"}},
        {"name": "files", "configMap": {"name": "keys"}},
        {"secret": {"secretName": "keys"}},
        "keys",
    ]
    inherited = parse(pod(container={"volumeMounts": mounts}, volumes=volumes), inherit_secret_volumes="keys*,files")
    assert [volume["name"] for volume in inherited.volumes] == ["inherited-keys"]
    assert [mount["mountPath"] for mount in inherited.mounts] == ["/etc/a", "/etc/b"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", "inherited-a"),
        ("a" * 53, f"inherited-{'a' * 53}"),
        ("a" * 54, f"inherited-{'a' * 46}-a3f01b"),
        ("a" * 63, f"inherited-{'a' * 46}-7d3e74"),
        ("A_b", "inherited---b-"),
        ("a-", "inherited-a--"),
    ],
)
def test_an_inherited_volume_has_a_valid_name_of_its_own(name: str, expected: str) -> None:
    """Names that differ only in what is cut off give different volumes."""
    own = pod(
        container={"volumeMounts": [{"name": name, "mountPath": "/etc/keys"}]},
        volumes=[{"name": name, "secret": {"secretName": "s"}}],
    )
    inherited = parse(own, inherit_secret_volumes="*")
    got = inherited.volumes[0]["name"]
    assert got.startswith(expected)
    assert len(got) <= 63
    assert inherited.mounts[0]["name"] == got


@pytest.mark.parametrize(
    ("secrets", "expected"),
    [
        ([{"name": "a"}, {"name": "b"}], ({"name": "a"}, {"name": "b"})),
        ([{"name": ""}, {}, "a", {"name": 1}, {"name": "b"}], ({"name": "b"},)),
        ({"name": "a"}, ()),
        (None, ()),
    ],
)
def test_pull_secrets_go_with_their_part(secrets: object, expected: object) -> None:
    """An agent's image mostly comes from the operator's registry."""
    assert parse(pod(imagePullSecrets=secrets), inherit="imagePullSecrets").image_pull_secrets == expected
    assert parse(pod(imagePullSecrets=secrets), inherit="dnsConfig").image_pull_secrets == ()


@pytest.mark.parametrize(
    ("dns", "expected"),
    [({"searches": ["x"]}, {"searches": ["x"]}), ({}, None), (None, None), (["x"], None)],
)
def test_dns_goes_with_its_part(dns: object, expected: object) -> None:
    """An empty configuration is none."""
    assert parse(pod(dnsConfig=dns), inherit="dnsConfig").dns_config == expected
    assert parse(pod(dnsConfig=dns), inherit="claim").dns_config is None


def _mangled(value: object, chance: st.DataObject) -> object:
    """``value`` with some of its parts replaced by anything."""
    if chance.draw(st.integers(0, 9)) == 0:
        return chance.draw(ANYTHING)
    if isinstance(value, dict):
        return {key: _mangled(item, chance) for key, item in value.items()}
    return [_mangled(item, chance) for item in value] if isinstance(value, list) else value


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@hypothesis.given(st.data())
def test_parsing_never_fails(chance: st.DataObject) -> None:
    """Whatever the pod looks like, the operator goes on with what it can read of it."""
    mangled = _mangled(FULL["spec"], chance)
    inherited = inheritance.parse_own_pod({"spec": mangled}, config(**EVERYTHING))
    assert {mount["name"] for mount in inherited.mounts} == {volume["name"] for volume in inherited.volumes}
    assert inheritance.parse_own_pod({}, config(**EVERYTHING)) == inheritance.NOTHING
