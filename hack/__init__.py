"""Tools for developers of agentrun: never shipped, never imported by the operator."""
