"""The script that is the entry of the agent's container; it travels to the pod in the prompt Secret."""
