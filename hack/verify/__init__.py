"""The project's checks: what they are (`checks`), and `python -m hack.verify` to run them."""
