"""`python -m clickcut_label_studio`: the same as `clickcut label-studio`."""

from clickcut_label_studio.cli import app

app()
