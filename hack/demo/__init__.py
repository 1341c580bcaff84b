"""The demo: one AgentRun with the real agent CLI on a real Kubernetes, from nothing to its transcript."""
