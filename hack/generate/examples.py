"""The examples of docs/api.md. Tests hold them against the models and against the API server."""

MINIMAL = """\
apiVersion: paperclip.io/v1alpha1
kind: AgentRun
metadata:
  name: fix-login
spec:
  companyId: acme
  agent: {id: ada}
  prompt: {text: "The login page answers 500 since yesterday. Find out why and fix it."}
"""

FULL = """\
apiVersion: paperclip.io/v1alpha1
kind: AgentRun
metadata:
  name: fix-login-2
spec:
  companyId: acme
  agent: {id: ada, name: Ada}
  runId: 0e8e40ba-7a53-4f0e-9f0e-2d1c6a1f8b11   # left out: the object's UID
  taskId: ISSUE-42
  session:                                      # go on with what an earlier run began
    id: 76cf1c2d-13aa-4f1c-8762-177658e8acfd
    cwd: /paperclip/work/ISSUE-42
  prompt:
    text: |
      You are {{agent.name}}. Work on {{taskId}} until its tests pass.
    bootstrap: "Read CONTRIBUTING.md first."    # only when a new session is begun
    handoff: "The cause is known: the session store is full."
  wake:
    reason: issue_commented
    commentId: c-7
    payload:
      comments: [{author: grace, body: "It happens on Firefox only."}]
  approval: {id: ap-3, status: approved}
  linkedIssueIds: [ISSUE-40, ISSUE-41]
  workspace:
    cwd: /paperclip/work/ISSUE-42
    source: project
    strategy: git_worktree
    repoUrl: https://git.example.com/acme/shop.git
    repoRef: main
    branch: issue-42
    worktreePath: /paperclip/work/ISSUE-42
    agentHome: /paperclip/agents/ada
  bundle:
    instructions: "Answer in one paragraph."
    skills:
      - {name: release-notes, path: /paperclip/skills/release-notes}
      - name: house-style
        configMapRef: {name: house-style, items: [{key: skill, path: SKILL.md}]}
  claude:
    model: opus
    effort: high
    maxTurns: 50
    maxBudgetUSD: "5"                           # in quotes: a decimal, no float
    maxRetries: 3
    apiTimeoutSeconds: 120
    extraArgs: [--allowedTools, "Bash(git:*) Edit"]
  job:
    image: registry.example.com/agents/claude:2
    imagePullSecrets: [{name: registry}]
    serviceAccountName: agents
    env:
      - {name: NODE_ENV, value: test}
      - {name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}
    envFrom: [{secretRef: {name: anthropic}}]   # ANTHROPIC_API_KEY
    resources:
      requests: {cpu: 500m, memory: 1Gi}
      limits: {memory: 4Gi}
    nodeSelector: {kubernetes.io/arch: amd64}
    tolerations: [{key: agents, operator: Exists, effect: NoSchedule}]
    labels: {example.com/team: shop}
    priorityClassName: batch
    queueName: agents                           # of Kueue
    podTemplate:                                # the rest of a pod, as a strategic-merge patch
      spec:
        topologySpreadConstraints:
          - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway}
  apiTokenSecretRef: {name: ada-token, key: token}
  timeouts: {timeoutSeconds: 3600, pendingSeconds: 900, stallSeconds: 1200}
  concurrencyPolicy: Queue
  priority: 10
  reattach: true
  retry:
    limit: 2
    "on": [claude_overloaded, k8s_pod_evicted]  # in quotes: YAML takes a bare on for true
    backoffSeconds: 60
  retention:
    jobTTLSecondsAfterFinished: 600
    log: WithRun
    runTTLSecondsAfterSucceeded: 86400
  suspend: false
"""
