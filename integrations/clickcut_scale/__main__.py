"""`python -m clickcut_scale`: the same as `clickcut scale`."""

from clickcut_scale.cli import app

app()
