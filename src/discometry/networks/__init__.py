"""Networks: numbers to modules, and how to run them."""

import sys

# OpenVINO reports its import to its makers and notes that in the user's home, unless it lacks this module.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
