"""What is written for the components, and what is read from the machine."""

import json
import pathlib
import socket
import stat
import tomllib

import pytest

from hack.cluster import (
    build,
    cgroups,
    credentials,
    errors,
    files,
    levels,
    node,
    nodeconfig,
    paths,
    ports,
    state,
    sysctls,
    teardown,
    toolchain,
)

_MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:26 / /sys/fs/cgroup rw shared:4 - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
40 22 0:40 / /s/n/kubelet/pods/1/volumes/a\\040b rw - tmpfs tmpfs rw
41 40 0:41 / /s/n/kubelet/pods/1/volumes/a\\040b/sub rw - tmpfs tmpfs rw
42 22 0:42 / /s/n2/other rw - overlay overlay rw
"""


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> paths.Layout:
    return paths.layout("dev", root=tmp_path / ".local" / "clusters")


@pytest.mark.parametrize("name", ["a", "dev", "e2e-1", "a" * 20])
def test_good_cluster_names(name: str) -> None:
    assert paths.layout(name).name == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a.b", "../x", "a" * 21])
def test_bad_cluster_names(name: str) -> None:
    with pytest.raises(errors.ClusterError, match="is not a cluster name"):
        paths.layout(name)


def test_names_shared_with_the_machine_differ_between_checkouts(tmp_path: pathlib.Path) -> None:
    one, two = (paths.layout("dev", root=tmp_path / side) for side in "ab")
    assert one.bridge != two.bridge
    assert one.run != two.run
    assert len(one.bridge) <= 15
    assert len(str(one.containerd_socket)) < 100


def test_containerd_config_is_toml_and_stays_in_our_folders(layout: paths.Layout) -> None:
    text = nodeconfig.render_containerd(layout, cni_bin=pathlib.Path("/usr/lib/cni"), snapshotter="native")
    config = tomllib.loads(text)
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert config["version"] == 2
    assert cri["restrict_oom_score_adj"] is True
    assert cri["sandbox_image"] == nodeconfig.PAUSE_REF
    assert cri["containerd"]["snapshotter"] == "native"
    assert config["root"].startswith(str(layout.state))
    assert config["state"].startswith(str(layout.run))


def test_kubelet_listens_on_loopback_only(layout: paths.Layout) -> None:
    text = nodeconfig.render_kubelet(layout, port=1, healthz_port=2, resolv_conf=pathlib.Path("/r"))
    config = json.loads(text)
    assert config["address"] == config["healthzBindAddress"] == "127.0.0.1"
    assert config["readOnlyPort"] == 0
    assert config["cgroupRoot"] == f"/{layout.cgroup}"
    assert config["failCgroupV1"] is False


def test_cni_network_has_the_clusters_own_bridge_and_subnet(layout: paths.Layout) -> None:
    plugin = json.loads(nodeconfig.render_cni(layout, subnet="10.180.7.0/24"))["plugins"][0]
    assert plugin["bridge"] == layout.bridge
    assert plugin["ipam"]["ranges"] == [[{"subnet": "10.180.7.0/24"}]]


def test_node_readiness_is_told_in_its_own_words() -> None:
    condition = {"type": "Ready", "status": "False", "message": "no CNI", "lastHeartbeatTime": "1970-01-01T00:00:09Z"}
    found = {"status": {"conditions": [condition]}}
    assert nodeconfig.ready_reason(found) == "node is not Ready: no CNI"
    assert nodeconfig.ready_heartbeat(found) == 9.0
    condition["status"] = "True"
    assert nodeconfig.ready_reason(found) is None
    assert nodeconfig.ready_reason({}) is not None
    assert nodeconfig.ready_heartbeat({}) == 0.0


def test_only_the_cloud_providers_taint_is_removed() -> None:
    other = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    cloud = {"key": "node.cloudprovider.kubernetes.io/uninitialized", "effect": "NoSchedule"}
    assert nodeconfig.without_cloud_taint([cloud, other]) == [other]


def test_existing_tokens_are_kept_and_missing_ones_added() -> None:
    wanted = (credentials.Identity("admin", ("system:masters",)), credentials.Identity("two", ("a", "b")))
    text, tokens = credentials.merge_tokens("mine,somebody,1\nold,admin,admin,system:masters\n", wanted)
    assert text.startswith("mine,somebody,1\nold,admin,admin,system:masters\n")
    assert text.endswith(f'{tokens["two"]},two,two,"a,b"\n')
    assert tokens["admin"] == "old"
    assert credentials.merge_tokens(text, wanted) == (text, tokens)


def test_secrets_are_private_and_kubeconfig_names_its_context(layout: paths.Layout) -> None:
    record = state.allocate(layout, levels.Level.CONTROL_PLANE, bin_dir=pathlib.Path("/b"))
    first = credentials.ensure(layout, record)
    key = credentials.key_file(layout).read_text()
    for path in (layout.kubeconfig, credentials.key_file(layout), credentials.tokens_file(layout)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "current-context: agentrun-dev" in layout.kubeconfig.read_text()
    assert f"https://127.0.0.1:{record.ports['kube-apiserver']}" in layout.kubeconfig.read_text()
    assert credentials.ensure(layout, record) == first
    assert credentials.key_file(layout).read_text() == key


def test_ec_key_is_the_der_of_rfc_5915() -> None:
    lines = credentials.ec_private_key_pem(1).splitlines()
    assert lines[0] == "-----BEGIN EC PRIVATE KEY-----"
    assert lines[1].startswith("MDECAQEEIAAAAAAA")


def test_record_survives_a_round_trip(layout: paths.Layout) -> None:
    record = state.allocate(layout, levels.Level.KWOK, bin_dir=pathlib.Path("/b"))
    assert state.parse(state.render(record)) == record
    state.save(layout, record)
    assert state.load(layout) == record
    assert (layout.state.parent.parent / ".gitignore").read_text() == "*\n"


def test_damaged_record_says_how_to_go_on(layout: paths.Layout) -> None:
    files.write(layout.record, '{"name": "dev"}')
    with pytest.raises(errors.ClusterError, match="down --name dev"):
        state.load(layout)


def test_neighbours_share_no_port_and_no_subnet(layout: paths.Layout) -> None:
    first = state.allocate(layout, levels.Level.NODE, bin_dir=pathlib.Path("/b"))
    state.save(layout, first)
    second = state.allocate(paths.layout("two", root=layout.state.parent), levels.Level.NODE, bin_dir=layout.state)
    assert len(set(first.ports.values()) | set(second.ports.values())) == 2 * len(state.PORTS)
    assert first.pod_subnet != second.pod_subnet


def test_port_in_use_is_not_given_out() -> None:
    before = ports.allocate(["a"], seed="s", taken=())["a"]
    with socket.socket() as other:
        other.bind((ports.LOOPBACK, before))
        other.listen()
        assert not ports.free(before)
        assert ports.allocate(["a"], seed="s", taken=())["a"] != before
    assert ports.allocate(["a", "b"], seed="s", taken=[before])["a"] != before


def test_routes_are_parsed_and_default_route_is_ignored() -> None:
    table = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
        "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n"
        "br0\t0007B40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"
    )
    assert [str(network) for network in ports.routed_networks(table)] == ["10.180.7.0/24"]


def test_a_control_plane_grows_but_fake_and_real_nodes_do_not_mix() -> None:
    control_plane, kwok, real = levels.Level.CONTROL_PLANE, levels.Level.KWOK, levels.Level.NODE
    assert levels.combine(None, kwok, name="x") is kwok
    assert levels.combine(control_plane, real, name="x") is real
    assert levels.combine(real, control_plane, name="x") is real
    with pytest.raises(errors.ClusterError, match="down --name x"):
        levels.combine(kwok, real, name="x")
    with pytest.raises(errors.ClusterError, match="use one of control-plane, kwok, node"):
        levels.Level.parse("huge")


def test_cache_key_depends_on_every_input_and_its_borders() -> None:
    assert build.cache_key([b"a", b"b"]) == build.cache_key([b"a", b"b"])
    assert len({build.cache_key(inputs) for inputs in ([b"ab"], [b"a", b"b"], [b"b", b"a"], [b"a"])}) == 4


def test_versions_come_from_the_committed_go_mod() -> None:
    kubernetes = build.module_version((paths.GO_MODULE / "go.mod").read_text(), "k8s.io/kubernetes")
    kwok = build.module_version((paths.KWOK_MODULE / "go.mod").read_text(), "sigs.k8s.io/kwok")
    assert kubernetes.startswith("v1.")
    assert kwok.startswith("v0.")
    assert f"gitVersion={kubernetes} " in build.ldflags(kubernetes)
    with pytest.raises(ValueError, match="does not require"):
        build.module_version("module x\n", "k8s.io/kubernetes")


def test_staging_modules_follow_the_version_of_kubernetes() -> None:
    text = (paths.GO_MODULE / "go.mod").read_text()
    minor_patch = build.module_version(text, "k8s.io/kubernetes").removeprefix("v1.")
    replaced = [line for line in text.splitlines() if " => k8s.io/" in line]
    assert len(replaced) == 31
    assert all(line.endswith(f" v0.{minor_patch}") for line in replaced)


def test_go_versions_compare_as_numbers() -> None:
    assert toolchain.parse_version("go1.26.8 linux/amd64") == (1, 26, 8)
    assert toolchain.parse_version("1.24") == (1, 24, 0)
    assert toolchain.required_version("module x\n\ngo 1.24.0\n") < toolchain.parse_version("go1.100")


def test_assets_of_envtest_are_used_only_if_complete(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    plain = build.bin_dir()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert build.bin_dir() == plain
    for name in ("etcd", "kube-apiserver", "kubectl"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    folder = build.ensure(["etcd", "kube-apiserver", "kubectl"])
    assert folder != plain
    assert (folder / "etcd").resolve() == tmp_path / "etcd"


def test_cgroup_hierarchies_of_a_hybrid_machine() -> None:
    found = cgroups.parse_mounts(_MOUNTINFO)
    assert found[pathlib.Path("/sys/fs/cgroup/cpu")] == ("cgroup", "rw,cpu,cpuacct")
    assert found[pathlib.Path("/sys/fs/cgroup/unified")] == ("cgroup2", "rw")
    assert len(found) == 2


def test_mounts_of_a_cluster_are_found_innermost_first() -> None:
    base = "/s/n/kubelet/pods/1/volumes/a b"
    assert teardown.mounts_below(_MOUNTINFO, [pathlib.Path("/s/n")]) == [f"{base}/sub", base]


def test_file_system_of_a_path() -> None:
    assert node.file_system(pathlib.Path("/s/n2/other/deep"), _MOUNTINFO) == "overlay"
    assert node.file_system(pathlib.Path("/s/n2"), _MOUNTINFO) == "ext4"


def test_kernel_settings_are_put_back(tmp_path: pathlib.Path) -> None:
    root, snapshot = tmp_path / "sys", tmp_path / "snapshot.json"
    setting = root / "kernel" / "panic"
    setting.parent.mkdir(parents=True)
    setting.write_text("0\n")
    sysctls.save(snapshot, root=root)
    setting.write_text("10\n")
    sysctls.save(snapshot, root=root)  # a second cluster must not note what the first one's kubelet set
    sysctls.restore(snapshot, root=root)
    assert setting.read_text() == "0"
    assert not snapshot.exists()


def test_write_tells_whether_something_changed(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a" / "f"
    assert files.write(path, "x")
    assert not files.write(path, "x")
    assert files.write(path, "y", private=True)
    assert files.tail(path, lines=1) == "y"
    assert files.tail(tmp_path / "none") == ""
