"""Names, labels and paths: what always holds first, then ugly ids at the edges."""

import posixpath
import re
import string
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import names

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
IDS = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=names.MAX_ID_LENGTH)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=100)


@hypothesis.given(TEXTS, TEXTS)
def test_a_job_name_is_a_dns_label_whatever_the_ids_are(agent_id: str, run_id: str) -> None:
    """At most 63 characters, so it fits a label of its pods too."""
    assert DNS_LABEL.fullmatch(names.job_name(agent_id=agent_id, run_id=run_id))


@hypothesis.given(IDS, IDS)
def test_a_job_name_is_the_same_every_time_and_has_its_documented_shape(agent_id: str, run_id: str) -> None:
    """An operator that was started again must find the Job that it created before."""
    name = names.job_name(agent_id=agent_id, run_id=run_id)
    assert name == names.job_name(agent_id=agent_id, run_id=run_id)
    assert re.fullmatch(r"ac-([a-z0-9-]{1,16}-){0,2}[0-9a-f]{6}", name)


@pytest.mark.parametrize(
    ("agent_id", "run_id", "expected"),
    [
        ("coder", "run-1", "ac-coder-run-1-31629d"),
        ("Coder", "RUN-1", "ac-coder-run-1-c9a173"),
        ("a" * 16, "b" * 16, "ac-aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-4c83fe"),
        ("a" * 63, "b" * 63, "ac-aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-3bb68f"),
        ("a" * 64, "b" * 65, "ac-aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-f3a5a5"),
        ("a" * 15 + "-b", "r", "ac-aaaaaaaaaaaaaaa-r-9eb435"),
        ("-a-", "--", "ac-a-c4af94"),
        ("-", "-", "ac-23ab1c"),
        ("你好", "é.._🎉", "ac-c82373"),
    ],
)
def test_job_names_are_part_of_the_contract(agent_id: str, run_id: str, expected: str) -> None:
    """A name that changed with an upgrade would start a second Job for a live run."""
    assert names.job_name(agent_id=agent_id, run_id=run_id) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("coder", "run-1"), ("Coder", "run-1")),
        (("a-b", "c"), ("a", "b-c")),
        (("a", "-b"), ("a", "b")),
        (("a" * 63, "r"), ("a" * 62 + "b", "r")),
        (("r", "a" * 63), ("r", "a" * 62 + "b")),
        (("é", "r"), ("è", "r")),
        (("", "r"), ("r", "")),
    ],
)
def test_ids_whose_slugs_collide_still_give_different_names(one: tuple[str, str], other: tuple[str, str]) -> None:
    """The hash is over the raw ids."""
    pairs = [names.job_name(agent_id=agent, run_id=run) for agent, run in (one, other)]
    assert pairs[0] != pairs[1]


@hypothesis.given(IDS, IDS)
def test_the_prompt_secret_is_named_after_the_job(agent_id: str, run_id: str) -> None:
    """And that is a DNS label as well."""
    job = names.job_name(agent_id=agent_id, run_id=run_id)
    assert names.prompt_secret_name(job) == f"{job}-prompt"
    assert DNS_LABEL.fullmatch(names.prompt_secret_name(job))


@hypothesis.given(TEXTS)
def test_a_label_value_is_valid_or_empty_whatever_the_text_is(text: str) -> None:
    """And making one of it again changes nothing."""
    value = names.label_value(text)
    assert LABEL_VALUE.fullmatch(value)
    assert names.label_value(value) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("coder", "coder"),
        ("Coder_1.x-y", "Coder_1.x-y"),
        ("a" * 63, "a" * 63),
        ("a" * 64, "a" * 63),
        ("a" * 65, "a" * 63),
        ("a" * 62 + "-b", "a" * 62),
        ("a" * 62 + "é" + "b", "a" * 62),
        ("-a-", "a"),
        ("._-", ""),
        ("---", ""),
        ("a b/c:d", "a-b-c-d"),
        ("你好", ""),
        ("x你好y", "x--y"),
        ("a\n", "a"),
    ],
)
def test_label_values_at_the_edges(text: str, expected: str) -> None:
    """What labels cannot hold becomes a hyphen, and the ends are cut until they are alphanumeric."""
    assert names.label_value(text) == expected


def test_an_agent_is_known_by_namespace_company_and_id() -> None:
    """Two agents share nothing if any of the three differs."""
    keys = [names.agent_key(*parts) for parts in (("n", "c", "a"), ("m", "c", "a"), ("n", "d", "a"), ("n", "c", "b"))]
    assert keys[0] == "n/c/a"
    assert len(set(keys)) == 4


@pytest.mark.parametrize("one", ["-a-", "a" * 64])
def test_agents_whose_labels_are_equal_count_as_one(one: str) -> None:
    """Labels are what other replicas find a live Job by, so less must not be told apart."""
    assert names.agent_key("n", "c", one) == names.agent_key("n", "c", names.label_value(one))


@hypothesis.given(IDS, IDS, IDS)
def test_a_log_never_stands_outside_the_root(company_id: str, agent_id: str, run_id: str) -> None:
    """Nor in the folder of another company or agent."""
    path = names.log_path(root="/data/run-logs", company_id=company_id, agent_id=agent_id, run_id=run_id)
    assert posixpath.normpath(path) == path
    assert posixpath.dirname(path) == f"/data/run-logs/{company_id}/{agent_id}"


@hypothesis.given(TEXTS, st.sampled_from(["company_id", "agent_id", "run_id"]))
def test_an_id_that_is_none_is_refused_or_harmless(text: str, field: str) -> None:
    """Whatever text comes, the path has exactly three parts below the root, or there is none."""
    ids: dict[str, Any] = {"company_id": "c", "agent_id": "a", "run_id": "r", field: text}
    try:
        path = names.log_path(root="/data", **ids)
    except ValueError:
        assert not text or not set(text) <= set(string.ascii_letters + string.digits + "-")
    else:
        assert path == f"/data/{ids['company_id']}/{ids['agent_id']}/{ids['run_id']}.pod.ndjson"


@pytest.mark.parametrize(
    "value", ["", ".", "..", "../x", "a/b", "/a", "a\n", "\na", "a b", "a.b", "a_b", "é", "a\0", "٣"]
)
@pytest.mark.parametrize(
    ("parameter", "field"), [("company_id", "companyId"), ("agent_id", "agentId"), ("run_id", "runId")]
)
def test_the_refusal_names_field_and_value(parameter: str, field: str, value: str) -> None:
    """The sentence is that of the design, which orchestrators may look for."""
    ids: dict[str, Any] = {"company_id": "c", "agent_id": "a", "run_id": "r", parameter: value}
    with pytest.raises(ValueError, match=rf"\AInvalid {field} for log path: {re.escape(value)}\Z"):
        names.log_path(root="/data", **ids)


def test_stderr_stands_beside_the_log() -> None:
    """Never in the same file."""
    log = names.log_path(root="/l", company_id="c", agent_id="a", run_id="r")
    assert names.stderr_path(log) == "/l/c/a/r.pod.stderr"


def test_the_labels_of_a_run_include_those_of_its_agent() -> None:
    """A Job found by its agent's labels must be found among those of its run."""
    assert set(names.AGENT_LABELS) < set(names.OWN_LABELS)


# --- attempts -------------------------------------------------------------------------------------------------------


def test_the_first_attempt_has_the_name_that_runs_always_had() -> None:
    """An upgrade finds the Jobs of live runs again."""
    assert names.job_name(agent_id="coder", run_id="run-1", attempt=0) == "ac-coder-run-1-31629d"


@hypothesis.given(IDS, IDS, st.sets(st.integers(0, 100), min_size=2, max_size=5))
def test_each_attempt_has_a_job_and_a_log_of_its_own(agent_id: str, run_id: str, numbers: set[int]) -> None:
    """The names are DNS labels that begin alike; the logs lie beside each other."""
    jobs = {names.job_name(agent_id=agent_id, run_id=run_id, attempt=number) for number in numbers}
    assert len(jobs) == len(numbers)
    assert all(DNS_LABEL.fullmatch(name) for name in jobs)
    assert len({name[:-6] for name in jobs}) == 1
    logs = [names.log_path(root="/r", company_id="acme", agent_id=agent_id, run_id=run_id, attempt=n) for n in numbers]
    assert len(set(logs)) == len(numbers)
    assert {posixpath.dirname(log) for log in logs} == {f"/r/acme/{agent_id}"}


@pytest.mark.parametrize(("number", "name"), [(0, "r.pod.ndjson"), (1, "r.1.pod.ndjson"), (100, "r.100.pod.ndjson")])
def test_the_number_of_an_attempt_is_in_the_name_of_its_log(number: int, name: str) -> None:
    """Behind a dot, which no id has: the log of another run can never be meant."""
    path = names.log_path(root="/r", company_id="c", agent_id="a", run_id="r", attempt=number)
    assert path == f"/r/c/a/{name}"
    assert names.stderr_path(path) == path.replace(".ndjson", ".stderr")


def test_the_attempt_of_one_run_is_not_another_run() -> None:
    """The hash tells ``coder:run-1:1`` from a run whose id ends in the number."""
    attempt = names.job_name(agent_id="coder", run_id="run", attempt=1)
    assert attempt not in {names.job_name(agent_id="coder", run_id=other) for other in ("run1", "run-1", "run")}
