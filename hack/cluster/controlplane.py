"""The control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler, all on loopback."""

import json
import pathlib

from hack.cluster import component, credentials, files, kubeapi, paths, state

SERVICE_RANGE = "10.96.0.0/24"
# The defaults (20 and 30 requests per second) would be what a benchmark measures.
_CLIENT_QPS, _CLIENT_BURST = 500, 1000


def client(layout: paths.Layout, record: state.Record, tokens: dict[str, str]) -> kubeapi.Client:
    """Return an admin's client for this cluster."""
    return kubeapi.Client(port=record.ports["kube-apiserver"], ca=layout.ca, token=tokens[credentials.ADMIN])


def etcd(layout: paths.Layout, record: state.Record) -> component.Component:
    """Describe etcd: one member, no fsync (a power cut may lose data: fine for tests, never for anything else)."""
    port, peer = record.ports["etcd"], record.ports["etcd-peer"]
    urls, peer_urls = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    argv = (
        str(record.bin_dir / "etcd"),
        "--name=default",
        f"--data-dir={layout.state / 'etcd'}",
        f"--listen-client-urls={urls}",
        f"--advertise-client-urls={urls}",
        f"--listen-peer-urls={peer_urls}",
        f"--initial-advertise-peer-urls={peer_urls}",
        f"--initial-cluster=default={peer_urls}",
        "--unsafe-no-fsync",
        "--quota-backend-bytes=8589934592",
        "--log-level=warn",
    )
    return component.Component(
        name="etcd", argv=argv, ports=(port, peer), healthy=lambda: kubeapi.http_health(port, "/health")
    )


def apiserver(layout: paths.Layout, record: state.Record, admin: kubeapi.Client) -> component.Component:
    """Describe the API server; ready means that it says so to a client that verified its certificate."""
    port = record.ports["kube-apiserver"]
    key, tokens = credentials.key_file(layout), credentials.tokens_file(layout)
    argv = [
        str(record.bin_dir / "kube-apiserver"),
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        # The service `kubernetes` may not have a loopback endpoint, and pods on the bridge could not reach it anyway.
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--cert-dir={layout.certs}",
        f"--etcd-servers=http://127.0.0.1:{record.ports['etcd']}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={key}",
        f"--service-account-key-file={key}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--kubelet-preferred-address-types=InternalIP,Hostname",
    ]
    config = [key, tokens]
    if record.audit:
        policy = layout.config / "audit-policy.json"
        files.write(policy, render_audit_policy())
        argv += [
            f"--audit-policy-file={policy}",
            f"--audit-log-path={layout.audit_log}",
            "--audit-log-maxsize=4096",
        ]
        config.append(policy)

    def ready() -> str | None:
        try:
            status, text = admin.request("GET", "/readyz?verbose")
        except kubeapi.UNREACHABLE as error:
            return f"127.0.0.1:{port}/readyz does not answer ({error})"
        failed = [line for line in text.splitlines() if line.startswith("[-]")]
        return None if status == 200 else f"/readyz says {status}: {'; '.join(failed) or text.strip()[-200:]}"

    return component.Component(
        name="kube-apiserver", argv=tuple(argv), ports=(port,), config=tuple(config), healthy=ready, timeout=120.0
    )


def render_audit_policy() -> str:
    """Render a policy that records who did what to which object when, but no bodies."""
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }
    return json.dumps(policy, indent=1) + "\n"


def controller_manager(layout: paths.Layout, record: state.Record) -> component.Component:
    """Describe the controller manager, with client limits and workers that keep up with thousands of Jobs."""
    port = record.ports["kube-controller-manager"]
    kubeconfig = credentials.kubeconfig_file(layout, credentials.CONTROLLER_MANAGER)
    argv = (
        str(record.bin_dir / "kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={credentials.key_file(layout)}",
        f"--root-ca-file={layout.ca}",
        f"--kube-api-qps={_CLIENT_QPS}",
        f"--kube-api-burst={_CLIENT_BURST}",
        "--concurrent-job-syncs=20",
        "--pvclaimbinder-sync-period=1s",  # 15 s by default, and every test has a claim of its own
        "--concurrent-gc-syncs=40",
        "--concurrent-ttl-after-finished-syncs=10",
        # A claim that names its volume is bound at the next round; the default of 15 s is most of such a test.
        # The default is a system folder, which the controller manager would look for.
        f"--flex-volume-plugin-dir={layout.state / 'volume-plugins'}",
    )
    return component.Component(
        name="kube-controller-manager",
        argv=argv,
        ports=(port,),
        config=(kubeconfig,),
        healthy=lambda: kubeapi.http_health(port, "/healthz", tls=True),
    )


def render_scheduler_config(kubeconfig: pathlib.Path) -> str:
    """Render the scheduler's configuration (JSON, which its YAML reader accepts)."""
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": _CLIENT_QPS, "burst": _CLIENT_BURST},
    }
    return json.dumps(config, indent=1) + "\n"


def scheduler(layout: paths.Layout, record: state.Record) -> component.Component:
    """Describe the scheduler; ready includes that its view of the cluster is synced."""
    port = record.ports["kube-scheduler"]
    kubeconfig = credentials.kubeconfig_file(layout, credentials.SCHEDULER)
    config = layout.config / "scheduler.json"
    files.write(config, render_scheduler_config(kubeconfig))
    argv = (
        str(record.bin_dir / "kube-scheduler"),
        f"--config={config}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
    )
    return component.Component(
        name="kube-scheduler",
        argv=argv,
        ports=(port,),
        config=(config, kubeconfig),
        healthy=lambda: kubeapi.http_health(port, "/readyz", tls=True),
    )


def default_account_ready(admin: kubeapi.Client) -> str | None:
    """Return None once pods can be created in `default`: its service account exists."""
    try:
        status, _ = admin.request("GET", "/api/v1/namespaces/default/serviceaccounts/default")
    except kubeapi.UNREACHABLE as error:
        return f"the API server does not answer ({error})"
    return None if status == 200 else "the default service account does not exist yet"
