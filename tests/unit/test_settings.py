"""The operator's settings: defaults, what is refused and with which sentence, and paths on the shared volume."""

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
        ("PVC_NAME", ""),
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
