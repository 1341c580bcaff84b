"""A scripted Anthropic Messages API on loopback, so that tests run the real agent without a model or a key.

    python3 -m hack.mock_anthropic --port 0 [--port-file F] [--scenario ok] [--log FILE] [--bodies DIR]

What a request gets is decided by its scenario: the last `SCENARIO=<name>` in a text that a user wrote, else
`--scenario`. Names are in `scenarios.py` and `failures.py`; four kinds are combined with others:

    mid_<name>       two good tool turns, then <name>
    compact_<name>   three tool turns, once "prompt is too long", then, after compaction, ok
    retry<status>ok  fails once or twice, then ok
    rl_ok, rl_warn, rl_429   the rate-limit headers of a subscription

Counts are kept for each conversation (the CLI names its session in `metadata.user_id`), so runs do not disturb each
other. `GET /__stats` returns the number of requests for each scenario, `POST /__reset` forgets all counts.

The log has one JSON object per line and never a key: of credentials it holds the scheme and at most four characters.
Text of prompts is written to disk only with `--bodies`. Status codes and texts imitate the API; they are not its
documentation. Standard library only.
"""
