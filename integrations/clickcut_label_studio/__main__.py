"""`python -m clickcut_label_studio`: the same as `clickcut label-studio`."""

import sys

from clickcut.errors import ClickcutError
from clickcut_label_studio.cli import app

try:
    app(prog_name="clickcut label-studio")
except ClickcutError as error:
    print(f"clickcut: {error}", file=sys.stderr)
    raise SystemExit(2) from error
