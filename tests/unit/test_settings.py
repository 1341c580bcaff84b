"""The operator's settings: defaults, what is refused and with which sentence, and paths on the shared volume."""

import datetime
import math
import re

import pytest

from agentrun_operator import errors, settings


def read(**variables: str) -> settings.Settings:
    """Settings from AGENTRUN_ variables given without their prefix."""
    return settings.from_environ({f"AGENTRUN_{name}": value for name, value in variables.items()})


def test_nothing_has_to_be_set() -> None:
    """Other variables of the process are none of ours."""
    config = settings.from_environ({"PATH": "/bin", "IMAGE": "x", "XAGENTRUN_IMAGE": "x", "agentrun_image": "x"})
    assert config == settings.Settings()
    assert config.log_root == "/paperclip/instances/default/run-logs"
    assert config.watched_namespaces == ()


def test_every_setting_says_what_it_means() -> None:
    """The sentence is shown when the value is wrong."""
    assert [name for name, field in settings.Settings.model_fields.items() if not field.description] == []


def test_settings_cannot_be_changed() -> None:
    """They are passed down and shared."""
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings.Settings(), "image", "other")  # noqa: B010 - mypy knows that it fails


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("IMAGE", "registry:5000/agent@sha256:00", "registry:5000/agent@sha256:00"),
        ("IMAGE", "", ""),
        ("PROGRESS_INTERVAL_SECONDS", "0", 0),
        ("PROGRESS_INTERVAL_SECONDS", "86400", 86_400),
        ("POLL_SECONDS", "0.001", 0.001),
        ("POLL_SECONDS", "60", 60),
        ("REQUEST_TIMEOUT_SECONDS", "600", 600),
        ("DATA_PATH", "", ""),
        ("LOG_SUBPATH", "data/run-logs", "data/run-logs"),
        ("PVC_NAME", "", ""),
        ("PVC_NAME", "data", "data"),
        ("API_URL", "", ""),
        ("API_URL", "http://paperclip.team.svc:3100/api", "http://paperclip.team.svc:3100/api"),
        ("BUNDLE_RETENTION_DAYS", "0", 0),
        ("BUNDLE_RETENTION_DAYS", "3650", 3650),
        ("OWN_POD_SECONDS", "0.1", 0.1),
        ("OWN_POD_SECONDS", "3600", 3600),
        ("POD_CONTAINER", "", ""),
        ("POD_NAMESPACE", "team", "team"),
        ("LEADER_ELECTION_LEASE", "", ""),
        ("LEADER_ELECTION_SECONDS", "4", 4),
        ("LEADER_ELECTION_SECONDS", "3600", 3600),
        ("METRICS_PORT", "0", 0),
        ("METRICS_PORT", "65535", 65_535),
        ("METRICS_LABELS", "", ""),
        ("METRICS_LABELS", "agent, model", "agent, model"),
        ("TELEMETRY_ENDPOINT", "", ""),
        ("TELEMETRY_ENDPOINT", "https://collector:4318", "https://collector:4318"),
        ("TELEMETRY_PROTOCOL", "http/protobuf", "http/protobuf"),
        ("TRACES", "true", True),
        ("TRACES", "0", False),
        ("LOG_LEVEL", "debug", "debug"),
        ("LOG_FORMAT", "console", "console"),
    ],
)
def test_a_variable_becomes_its_setting(variable: str, text: str, expected: object) -> None:
    """Bounds are included where zero or the maximum makes sense."""
    assert getattr(read(**{variable: text}), variable.lower()) == expected


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PROGRESS_INTERVAL_SECONDS", "-0.1"),
        ("PROGRESS_INTERVAL_SECONDS", "86401"),
        ("PROGRESS_INTERVAL_SECONDS", "5s"),
        ("PROGRESS_INTERVAL_SECONDS", ""),
        ("PROGRESS_INTERVAL_SECONDS", "nan"),
        ("PROGRESS_INTERVAL_SECONDS", "inf"),
        ("POLL_SECONDS", "0"),
        ("POLL_SECONDS", "61"),
        ("POLL_SECONDS", "nan"),
        ("IDLE_POLL_SECONDS", "0"),
        ("REQUEST_TIMEOUT_SECONDS", "0"),
        ("REQUEST_TIMEOUT_SECONDS", "601"),
        ("OWN_POD_SECONDS", "0"),
        ("OWN_POD_SECONDS", "3601"),
        ("OWN_POD_SECONDS", "nan"),
        ("LEADER_ELECTION_LEASE", "Operator"),
        ("LEADER_ELECTION_LEASE", "-operator"),
        ("LEADER_ELECTION_LEASE", "system/operator"),
        ("LEADER_ELECTION_LEASE", "operator\n"),
        ("LEADER_ELECTION_LEASE", "o" * 254),
        ("LEADER_ELECTION_SECONDS", "3"),
        ("LEADER_ELECTION_SECONDS", "3601"),
        ("LEADER_ELECTION_SECONDS", "8.5"),
        ("BUNDLE_RETENTION_DAYS", "-1"),
        ("BUNDLE_RETENTION_DAYS", "3651"),
        ("BUNDLE_RETENTION_DAYS", "1.5"),
        ("METRICS_PORT", "-1"),
        ("METRICS_PORT", "65536"),
        ("METRICS_PORT", ":9090"),
        ("METRICS_LABELS", "run"),
        ("METRICS_LABELS", "company agent"),
        ("TELEMETRY_ENDPOINT", "collector:4317"),
        ("TELEMETRY_ENDPOINT", "http://a b"),
        ("TELEMETRY_PROTOCOL", "udp"),
        ("TRACES", "http://collector:4318"),
        ("TRACES", ""),
        ("TELEMETRY_PROTOCOL", ""),
        ("API_URL", "paperclip:3100"),
        ("API_URL", "ftp://paperclip"),
        ("API_URL", "http://"),
        ("API_URL", "http://paperclip "),
        ("DATA_MOUNT", "paperclip"),
        ("DATA_MOUNT", ""),
        ("INSTANCE_ROOT", "instances"),
        ("INSTANCE_ROOT", "/paperclip/../etc"),
        ("INSTANCE_ROOT", "/paperclipped"),
        ("INSTANCE_ROOT", "/"),
        ("LOG_SUBPATH", ""),
        ("LOG_SUBPATH", "/run-logs"),
        ("LOG_SUBPATH", "run-logs/"),
        ("LOG_SUBPATH", ".."),
        ("LOG_SUBPATH", "a/../../.."),
        ("LOG_SUBPATH", "a b"),
        ("LOG_LEVEL", "DEBUG"),
        ("LOG_LEVEL", "trace"),
        ("LOG_FORMAT", "xml"),
        ("LOG_FORMAT", "json\n"),
    ],
)
def test_a_wrong_value_is_refused_with_variable_value_and_meaning(variable: str, text: str) -> None:
    """Whoever reads it in the log of a pod that does not start knows what to change."""
    with pytest.raises(errors.SettingsError) as caught:
        read(**{variable: text})
    sentence = str(caught.value)
    assert sentence.startswith(f"AGENTRUN_{variable}={text!r}: ")
    assert str(settings.Settings.model_fields[variable.lower()].description) in sentence


def test_all_wrong_values_are_named_at_once() -> None:
    """Nobody has to start the operator once per mistake."""
    with pytest.raises(errors.SettingsError, match=r"(?s)AGENTRUN_POLL_SECONDS='0'.*; AGENTRUN_LOG_LEVEL='loud'"):
        read(POLL_SECONDS="0", LOG_LEVEL="loud")


def test_a_root_cannot_be_judged_below_a_mount_that_is_wrong_itself() -> None:
    """One mistake gives one sentence."""
    with pytest.raises(errors.SettingsError) as caught:
        read(DATA_MOUNT="x", INSTANCE_ROOT="/y")
    assert "INSTANCE_ROOT" not in str(caught.value)


def test_unknown_variables_are_named_and_no_error() -> None:
    """Kubernetes sets such variables for a Service named agentrun; a misspelt setting is worth a warning."""
    environ = {"AGENTRUN_SERVICE_HOST": "10.0.0.1", "AGENTRUN_IMGAE": "x", "AGENTRUN_IMAGE": "y", "PATH": "/bin"}
    assert settings.unknown(environ) == ["AGENTRUN_IMGAE", "AGENTRUN_SERVICE_HOST"]
    assert settings.from_environ(environ).image == "y"


@pytest.mark.parametrize(
    ("text", "expected"), [("", ()), (" , ,", ()), ("a", ("a",)), (" a , b,, c ", ("a", "b", "c"))]
)
def test_namespaces_are_a_list_with_commas(text: str, expected: tuple[str, ...]) -> None:
    """None means all."""
    assert read(NAMESPACES=text).watched_namespaces == expected


@pytest.mark.parametrize(
    ("mount", "root"),
    [("/paperclip", "/paperclip"), ("/paperclip/", "/paperclip/x"), ("/", "/x"), ("/a", "/a/../a/b")],
)
def test_the_instance_is_below_the_mount(mount: str, root: str) -> None:
    """Or the mount itself."""
    assert read(DATA_MOUNT=mount, INSTANCE_ROOT=root).instance_root == root


@pytest.mark.parametrize(
    ("mount", "data_path", "path", "expected"),
    [
        ("/paperclip", "/mnt/data", "/paperclip/instances/x.ndjson", "/mnt/data/instances/x.ndjson"),
        ("/paperclip/", "/mnt/data/", "/paperclip/x", "/mnt/data/x"),
        ("/", "/mnt", "/paperclip/x", "/mnt/paperclip/x"),
        ("/paperclip", "/mnt", "/paperclip/a/../b", "/mnt/b"),
        ("/paperclip", "", "/paperclip/x", None),
        ("/paperclip", "", "/elsewhere", None),
    ],
)
def test_a_path_of_the_agent_is_found_on_the_operators_side(
    mount: str, data_path: str, path: str, expected: str | None
) -> None:
    """None if the operator has no view of the volume."""
    config = settings.Settings(data_mount=mount, instance_root=mount, data_path=data_path)
    assert config.local_path(path) == expected


@pytest.mark.parametrize("path", ["/etc/passwd", "/paperclip/../etc/passwd", "/paperclipped/x", "/", "x", ""])
def test_a_path_outside_the_volume_is_refused(path: str) -> None:
    """The path comes from an annotation, and the operator must not read a file of its own for it."""
    with pytest.raises(ValueError, match="."):
        settings.Settings(data_path="/mnt").local_path(path)


def refusal(variable: str, text: str) -> str:
    """The sentence with which the value is refused, without what the setting means."""
    with pytest.raises(errors.SettingsError) as caught:
        read(**{variable: text})
    sentence = str(caught.value)
    assert sentence.startswith(f"AGENTRUN_{variable}={text!r}: ")
    meaning = f". It means: {settings.Settings.model_fields[variable.lower()].description}"
    assert sentence.endswith(meaning)
    return sentence.removesuffix(meaning)


def test_outside_a_cluster_there_is_no_pod_of_its_own() -> None:
    """By default nothing says which pod to inherit from, and no Secret as a whole would be inherited."""
    config = settings.Settings()
    assert (config.pod_name, config.pod_namespace, config.pod_container) == ("", "", "operator")
    assert config.inherited_parts == {"claim", "imagePullSecrets", "dnsConfig"}
    assert (config.inherit_env_from, config.inherit_secret_volumes) == ("", "")
    assert (config.pvc_name, settings.DEFAULT_CLAIM) == ("", "paperclip-data")


@pytest.mark.parametrize("namespace", [{}, {"POD_NAMESPACE": ""}])
def test_the_own_pod_needs_name_and_namespace(namespace: dict[str, str]) -> None:
    """The sentence names both variables, whether the second is empty or absent."""
    with pytest.raises(errors.SettingsError, match=r"AGENTRUN_POD_NAMESPACE=''.* AGENTRUN_POD_NAME \(operator-0\)"):
        read(POD_NAME="operator-0", **namespace)
    assert read(POD_NAME="operator-0", POD_NAMESPACE="team").pod_namespace == "team"


@pytest.mark.parametrize("name", ["operator", "a", "operator-2.example", "o" * 253])
def test_a_lease_is_somewhere(name: str) -> None:
    """In the namespace of the operator's own pod, which also one outside of a cluster can name."""
    with pytest.raises(errors.SettingsError, match=r"AGENTRUN_LEADER_ELECTION_LEASE='.*AGENTRUN_POD_NAMESPACE"):
        read(LEADER_ELECTION_LEASE=name)
    assert read(LEADER_ELECTION_LEASE=name, POD_NAMESPACE="team").leader_election_lease == name


def test_a_lease_is_not_blamed_for_a_namespace_that_is_wrong_itself() -> None:
    """One mistake gives one sentence."""
    with pytest.raises(errors.SettingsError) as caught:
        read(LEADER_ELECTION_LEASE="operator", POD_NAME="operator-0")
    assert "LEASE" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()),
        (" , ", set()),
        ("image", {"image"}),
        ("claim , image,,image", {"claim", "image"}),
        ("image,claim,imagePullSecrets,dnsConfig", set(settings.INHERITABLE_PARTS)),
    ],
)
def test_inherited_parts_are_a_list_with_commas(text: str, expected: set[str]) -> None:
    """None means that nothing but what other settings allow is inherited."""
    assert read(INHERIT=text).inherited_parts == expected


@pytest.mark.parametrize("text", ["claim,pvc", "Image", "claim image", "*"])
def test_an_unknown_part_is_named_with_the_known_ones(text: str) -> None:
    """A misspelt part would otherwise be missed only when an agent lacks something."""
    strange = text.removeprefix("claim,")
    assert f"unknown: {strange}; known are image, claim, imagePullSecrets, dnsConfig" in refusal("INHERIT", text)


@pytest.mark.parametrize("variable", ["INHERIT_ENV", "INHERIT_ENV_FROM", "INHERIT_SECRET_VOLUMES"])
def test_an_allow_list_without_commas_is_refused(variable: str) -> None:
    """Two names in one would match nothing, silently."""
    assert "'A B' is not one name; put commas between names" in refusal(variable, "X,A B")
    assert "put commas" in refusal(variable, "A\nB")
    assert getattr(read(**{variable: "A*,\nB,"}), variable.lower()) == "A*,\nB,"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" \n\t\n", {}),
        ("a=b", {"a": "b"}),
        ("  a =  b c \n", {"a": "b c"}),
        ("a=b=c==", {"a": "b=c=="}),
        ("a=", {"a": ""}),
        ("a=b\r\n\r\nc=d\r\n", {"a": "b", "c": "d"}),
        ("# a comment\na=b\n  #c=d", {"a": "b"}),
        ("a=#b", {"a": "#b"}),
        ("{}", {}),
        (' {"a": "b",\n "c": ""}\n', {"a": "b", "c": ""}),
        ('{"a": "x=y", "b": " "}', {"a": "x=y", "b": " "}),
    ],
)
def test_pairs_are_json_or_lines(text: str, expected: dict[str, str]) -> None:
    """Comments and blank lines count for nothing."""
    assert settings.parse_pairs(text) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a=b\nzone", "line 2 is 'zone'; write key=value, or # before a comment"),
        ("\n\n =b", "line 3 is '=b'; write key=value, or # before a comment"),
        ("=", "line 1 is '='; write key=value"),
        ("a: b", "line 1 is 'a: b'; write key=value"),
        ("a=b\n#\na =c", "line 3: a is given twice; keep one of them"),
        ('{"a": 1}', "the value of a is 1 and not a text; put it in quotes"),
        ('{"a": null}', "the value of a is None and not a text; put it in quotes"),
        ('{"a": {"b": "c"}}', "the value of a is (('b', 'c'),) and not a text"),
        ('{"": "x"}', "the key '' is not a text or is empty; write a name"),
        ('{"a": "b", "a": "b"}', "a is given twice; keep one of them"),
        ('["a=b"]', "a JSON array has no keys; write a JSON object or lines key=value"),
        ('{"a": "b"', "it begins like JSON but is none (Expecting ',' delimiter"),
        ("{a=b}", "it begins like JSON but is none"),
    ],
)
def test_malformed_pairs_are_never_skipped(text: str, sentence: str) -> None:
    """The seeds' parser left such lines out; then a pod runs on the wrong node and nobody knows why."""
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        settings.parse_pairs(text)
    for variable in ("NODE_SELECTOR", "JOB_LABELS"):
        assert sentence in refusal(variable, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "team=blue",
        "team=",
        "x/team=blue",
        "team.example.com/Cost_Center.2=A-1_b.c",
        f"{'a' * 63}={'b' * 63}",
        f"{'p' * 253}/{'a' * 63}=b",
        "paperclip.io=x",
        "my.paperclip.io/team=x",
        "app.kubernetes.io/name=x",
        "kueue.x-k8s.io/queue-name=x",
    ],
)
def test_labels_and_node_selectors_that_kubernetes_takes(text: str) -> None:
    """The parsed pairs are the defaults of every Job."""
    config = read(NODE_SELECTOR=text, JOB_LABELS=text)
    assert config.default_labels == config.default_node_selector == settings.parse_pairs(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a b=c", "'a b' is no label key"),
        ("-a=b", "'-a' is no label key"),
        ("a/b/c=d", "'a/b/c' is no label key"),
        ("A.com/b=c", "'A.com/b' is no label key"),
        ("a..com/b=c", "'a..com/b' is no label key"),
        ("/b=c", "'/b' is no label key"),
        (f"{'a' * 64}=b", "is no label key; Kubernetes wants [prefix/]name"),
        (f"{'p' * 254}/a=b", "is no label key"),
        ("a=b c", "a='b c': no label value; Kubernetes wants at most 63"),
        ("a=b # why", "a='b # why': no label value"),
        ('{"a": "b\\n"}', "a='b\\n': no label value"),
        ("a=-b", "a='-b': no label value"),
        (f"a={'b' * 64}", "no label value"),
    ],
)
def test_labels_that_kubernetes_would_refuse_are_refused_at_start(text: str, sentence: str) -> None:
    """Otherwise each run would fail when its Job is created."""
    assert sentence in refusal("JOB_LABELS", text)
    assert sentence in refusal("NODE_SELECTOR", text)


@pytest.mark.parametrize(
    "key",
    [
        "paperclip.io/agent-id",
        "paperclip.io/anything",
        "app.kubernetes.io/managed-by",
        "app.kubernetes.io/component",
        "batch.kubernetes.io/job-name",
        "controller-uid",
        "job-name",
    ],
)
def test_labels_by_which_jobs_are_found_cannot_be_set(key: str) -> None:
    """Another value would hide Jobs from the operator, or pods from the Job controller. Nodes may have any label."""
    assert f"the label {key} is reserved; leave it out" in refusal("JOB_LABELS", f"team=blue\n{key}=x")
    assert read(NODE_SELECTOR=f"{key}=x").default_node_selector == {key: "x"}


@pytest.mark.parametrize(
    ("text", "expected"), [("", ()), (" , ,", ()), ("a", ("a",)), (" a , b,, c ", ("a", "b", "c"))]
)
def test_lists_have_commas(text: str, expected: tuple[str, ...]) -> None:
    """Spaces around an item and empty items count for nothing."""
    assert settings.parse_list(text) == expected


def test_a_settings_file_has_setting_names_or_variables() -> None:
    """What is not in it keeps its default; numbers may be written as numbers or texts, pairs as mappings or texts."""
    config = settings.from_mapping(
        {
            "image": "agent:1",
            "AGENTRUN_LOG_LEVEL": "debug",
            "poll_seconds": 1,
            "own_pod_seconds": "2.5",
            "bundle_retention_days": 0,
            "node_selector": {"disk": "ssd", "zone": ""},
            "job_labels": "team=blue",
            "events": False,
            "traces": "true",
        }
    )
    assert config == settings.Settings(
        image="agent:1",
        log_level="debug",
        poll_seconds=1,
        own_pod_seconds=2.5,
        bundle_retention_days=0,
        node_selector='{"disk": "ssd", "zone": ""}',
        job_labels="team=blue",
        events=False,
        traces=True,
    )
    assert config.default_node_selector == {"disk": "ssd", "zone": ""}
    assert settings.from_mapping({}) == settings.Settings()


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("imgae", "image"),
        ("pollSeconds", "poll_seconds"),
        ("AGENTRUN_POLL_SECOND", "AGENTRUN_POLL_SECONDS"),
        ("Image", "image"),
        ("", ""),
        (7, ""),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_setting(key: str, nearest: str) -> None:
    """Unlike a variable, a key of the file can only be meant for the operator."""
    with pytest.raises(errors.SettingsError) as caught:
        settings.from_mapping({key: "x"})
    assert str(caught.value).startswith(f"{key}: there is no such setting; the nearest one is {nearest}")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("image", 5, "image=5: Input should be a valid string"),
        ("image", None, "image=None: Input should be a valid string"),
        ("image", {"name": "x"}, "image={'name': 'x'}: Input should be a valid string"),
        ("image", True, "image=True: a number or a text is wanted"),
        ("poll_seconds", True, "poll_seconds=True: a number or a text is wanted"),
        ("poll_seconds", "fast", "poll_seconds='fast': Input should be a valid number"),
        ("AGENTRUN_POLL_SECONDS", [1], "AGENTRUN_POLL_SECONDS=[1]: Input should be a valid number"),
        ("poll_seconds", math.nan, "poll_seconds=nan: Input should be"),
        ("bundle_retention_days", 1.5, "bundle_retention_days=1.5: Input should be a valid integer"),
        ("namespaces", ["a", "b"], "namespaces=['a', 'b']: Input should be a valid string"),
        ("node_selector", {"a": 1}, "node_selector={'a': 1}: Value error, the value of a is 1 and not a text"),
        ("node_selector", {1: "a"}, "node_selector={1: 'a'}: Value error, the key 1 is not a text"),
        ("node_selector", ["a=b"], "node_selector=['a=b']: Input should be a valid string"),
        ("job_labels", {"a": datetime.date(2026, 1, 2)}, "the value of a is datetime.date(2026, 1, 2) and not a text"),
        ("job_labels", {"job-name": "x"}, "the label job-name is reserved; leave it out"),
        ("pod_name", "operator-0", "pod_namespace='': Value error, must be given together with AGENTRUN_POD_NAME"),
    ],
)
def test_a_wrong_value_in_a_settings_file_is_named_by_its_key(key: str, value: object, sentence: str) -> None:
    """As the key stands in the file, with what the setting means."""
    with pytest.raises(errors.SettingsError, match=r"It means: ") as caught:
        settings.from_mapping({key: value})
    assert sentence in str(caught.value)


def test_a_setting_stands_once_in_a_settings_file() -> None:
    """The name and the variable mean the same, and nothing says which of the two values is wanted."""
    with pytest.raises(errors.SettingsError, match=r"^AGENTRUN_IMAGE: image is given too .*; keep one of them$"):
        settings.from_mapping({"image": "a", "AGENTRUN_IMAGE": "b"})


def test_all_faults_of_a_settings_file_are_named_at_once() -> None:
    """Unknown keys and wrong values."""
    with pytest.raises(errors.SettingsError, match=r"(?s)^imgae: .*; polls: .*; log_level='loud': "):
        settings.from_mapping({"imgae": "x", "polls": 1, "log_level": "loud"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", set()), ("agent", {"agent"}), (" model , company,", {"company", "model"}), ("company,company", {"company"})],
)
def test_labels_of_metrics_are_a_list_with_commas(text: str, expected: set[str]) -> None:
    """Agents are left out unless asked for: there is no end to their number."""
    assert read(METRICS_LABELS=text).shown_labels == expected
    assert settings.Settings().shown_labels == {"company", "model"}


def test_a_label_that_no_metric_has_is_named() -> None:
    """With those that there are."""
    with pytest.raises(errors.SettingsError, match="unknown: run; known are company, agent, model"):
        read(METRICS_LABELS="company,run")
