"""Interactors for CVAT: an agent function and a serverless function, both clients of the engine.

`clickcut_cvat.agent` is for `cvat-cli function run-agent` (CVAT Online and Enterprise),
`clickcut_cvat.serverless` for nuclio (every CVAT). CVAT has no sessions: each request carries all
clicks. `clickcut_cvat.sessions` finds the engine's session that is nearest to them.
"""
