"""clickcut."""

import os

# ONNX Runtime reports to its makers what it runs, on Linux since 1.29, unless this is set before it
# is imported. An engine that is given people's images sends nothing anywhere.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
